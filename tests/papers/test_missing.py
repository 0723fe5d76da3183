"""What would run a number that a store lacks, for the papers that no shipped sweep has at their own size."""

from __future__ import annotations

import shlex

import pytest

from memloc.papers.claims import HERE
from memloc.papers.missing import command
from memloc.papers.registry import paper
from memloc.sweep import shipped, yaml


@pytest.mark.parametrize(
    ("name", "blocks"),
    [("localization", {"injected", "tied"}), ("merullo2025", {"main"}), ("baldock2021", {"depth"})],
)
def test_every_number_has_a_shipped_sweep_that_runs_it(name: str, blocks: set[str]) -> None:
    """Its block exists, and has the stages that the number needs."""
    named = set()
    for claim in paper(name).claims:
        for part in claim.numbers:
            typed = command(claim, HERE, part)
            assert typed is not None, (claim.id, part)
            _, _, sweep, _, only = shlex.split(typed)
            written = yaml.read(shipped()[sweep]).value["blocks"]
            block = only.removeprefix("block=")
            assert set(claim.stages(part)) <= set(written[block]["stages"])
            named.add(block)
    assert named == blocks
