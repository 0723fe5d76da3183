"""The ids that a commit has follow from what it says, for every stage."""

from __future__ import annotations

from pathlib import Path

from memloc.run import ids
from memloc.store import Store


def test_the_ids_of_every_stage(small_store: Path) -> None:
    snapshot = Store(str(small_store)).snapshot()
    for training in snapshot.trainings().values():
        parts = [c for c in snapshot.commits.values() if c.trial == training.trial and c.analysis is not None]
        ids.check(training, parts)
    assert len({c.stage for c in snapshot.commits.values()}) == 8
