"""The papers by name."""

from __future__ import annotations

import pkgutil

import pytest

import memloc.papers
from memloc.errors import UsageError
from memloc.papers.registry import NAMES, USUAL, names_of, paper


def test_every_folder_is_a_paper_with_ids_that_occur_once() -> None:
    packages = {m.name for m in pkgutil.iter_modules(memloc.papers.__path__) if m.ispkg}
    assert packages == set(NAMES) >= {"maini2023"}
    for name in NAMES:
        one = paper(name)
        assert one.id == name
        exhibits = [e.id for s in one.sections for e in s.exhibits] + [e.id for e in one.pictures]
        for ids in ([c.id for c in one.claims], exhibits, [s.name for s in one.sections]):
            assert len(set(ids)) == len(ids)
        known = {c.id for c in one.claims}
        assert all(set(e.claims) <= known for s in one.sections for e in s.exhibits)
    assert USUAL in NAMES


def test_the_papers_that_speak_of_the_stages_of_a_sweep() -> None:
    assert names_of({"train", "gradients", "rewind", "flips", "evaluate"}) == ["maini2023"]
    assert names_of({"edit", "depth", "flips"}) == ["maini2023", "baldock2021", "merullo2025"]
    assert names_of({"inject", "locate"}) == ["maini2023", "localization"]


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    known = ", ".join(NAMES)
    with pytest.raises(UsageError, match=rf"^paper maini: no such paper \(did you mean 'maini2023'\?\); valid: {known}, or"):
        paper("maini")
