"""How long work will take: rates by hand from what a store has seen, and what cannot be done side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from memloc import sweep
from memloc.run.estimate import estimate
from memloc.run.plan import Work, build_plan, pending
from memloc.stages import STAGES
from memloc.store import Snapshot, Store
from tests.conftest import TINY

SHAPES = {"digits": (1, 16, 16)}


@pytest.fixture
def planned(tmp_path: Path, tiny: Path) -> Any:
    """(works, snapshot) of the tiny sweep under overrides, against its finished store."""

    def plan(*overrides: str) -> tuple[list[Work], Snapshot]:
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY)
        loaded = sweep.load(path, STAGES, overrides)
        store = Store(str(tiny))
        snapshot = store.snapshot()
        return pending(build_plan(loaded, loaded.entries, tmp_path), store, snapshot, "all"), snapshot

    return plan


def test_nothing_to_do_takes_no_time(planned: Any) -> None:
    assert estimate(*planned(), SHAPES, 1).seconds == 0


def test_the_rate_of_a_store_by_hand(planned: Any) -> None:
    """Per training and epoch: 3 × 100 passes of training and 360 of test. Analyses count the passes they say."""
    works, snapshot = planned("seed=5")
    trainings = [c for c in snapshot.commits.values() if c.stage == "train"]
    assert [c.passes for c in trainings] == [2 * (300 + 360)] * 2
    rate = sum(c.seconds for c in trainings) / sum(c.passes for c in trainings)
    groups, n = 9, 100 + 360
    rewind = (1 + groups / 2) * n  # per epoch rewound to
    chains = [2 * 660 + rewind, 2 * 660 + 6 * n]  # plain has one way to be evaluated; tied: plain, own, scaled, 3 × dropped
    total = 2 * (2 * 660) + 3 * rewind + n + 6 * n
    assert estimate(works, snapshot, SHAPES, 1).seconds == pytest.approx(rate * total)
    assert estimate(works, snapshot, SHAPES, 2).seconds == pytest.approx(rate * max(total / 2, *chains))
    assert estimate(works, snapshot, SHAPES, 1000).seconds == pytest.approx(rate * max(chains))
    assert estimate(works, snapshot, SHAPES, 1).basis == "2 trainings of the same network in this store"


@pytest.mark.parametrize("other", ["width=0.125", "threads=2"])
def test_another_network_or_thread_count_is_timed_here(planned: Any, other: str) -> None:
    try:
        found = estimate(*planned(other), SHAPES, 1)
    finally:
        torch.set_num_threads(1)
    assert found.basis == "a training step timed on this machine (cpu)"
    assert found.seconds > 0
