"""Useful time over slots · wall, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.utilisation import busy, of_sweep, utilisation
from memloc.store import Commit


def commit(ended: float, seconds: float) -> Commit:
    return Commit(
        id=f"{ended}", trial="t", analysis=None, stage="train", part={}, nth=0, of=1, config={}, seconds=seconds, ended=ended
    )


def test_by_hand() -> None:
    """Two slots, from 100 to 110: 10 s on one, 2 + 3 s on the other."""
    found = utilisation([commit(110, 10), commit(102, 2), commit(109, 3)], 2)
    assert (found.useful, found.wall, found.share) == (15, 10, 0.75)
    assert busy([commit(110, 10), commit(102, 2), commit(109, 3)], 5) == pytest.approx([2, 1, 1, 2, 1.5])


def test_what_does_not_say_when_it_ended() -> None:
    for commits in ([], [commit(0.0, 1)]):
        with pytest.raises(ValueError, match="did not note when"):
            utilisation(commits, 1)


def test_of_a_store(tiny: Path) -> None:
    """In one process, one thing after the other: never more than one at a time."""
    commits = of_sweep(str(tiny), "tiny")
    assert [c.stage for c in sorted(commits, key=lambda c: c.ended)] == [
        "train",
        *["rewind"] * 3,
        "evaluate",
        "train",
        "evaluate",
    ]
    assert 0 < utilisation(commits, 1).share <= 1
