"""The order of a section's claims and figures."""

from __future__ import annotations

from dataclasses import replace

from memloc.papers.paper import in_order
from memloc.papers.registry import paper


def test_ids_with_the_same_letters_stand_together_by_number() -> None:
    """Letters are in the order in which the modules have them. So a claim can be added at any place of its module."""
    claim = paper().claims[0]
    flips, shares, detection = ([replace(claim, id=i) for i in ids] for ids in (("F1", "F5", "F2"), ("F4",), ("D1", "F3")))
    assert [c.id for c in in_order([*flips, *shares, *detection])] == ["F1", "F2", "F3", "F4", "F5", "D1"]


def test_the_papers_claims_and_figures_are_in_its_order() -> None:
    sections = [([c.id for c in s.claims], [e.id for e in s.exhibits]) for s in paper().sections]
    assert sections == [
        (["G1", "G2", "G3", "G4", "G5"], ["fig01", "fig02", "fig10", "fig11"]),
        (["L1", "W1", "W2", "W3", "R1", "R2"], ["fig03", "fig04", "width-rewinding", "width-retraining"]),
        (["F1", "F2", "F3", "F4", "F5", "D1"], ["fig05", "detection", "width-neurons"]),
        (["E1", "E2", "E3", "E4", "E5"], ["table1", "table2", "table3", "fig07"]),
        (["A1"], ["fig08", "fig09", "fig19"]),
    ]
