"""The small sweep's store as one process makes it: the oracle of every run on Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import shared
from tests.run.programs import SMALL, contents, memloc


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished store of `small.yaml`, made in one process, one thing after the other. Only to be read."""

    def make(home: Path) -> None:
        done = memloc(home, "sweep", str(SMALL), "--executor", "inline", "--store", str(home / "store"))
        assert done.code == 0, done.err

    store = shared(tmp_path_factory, "small", make) / "store"
    assert {name: t.num_rows for name, t in contents(store).items() if t.num_rows} == {
        "trials": 3,
        "analyses": 2 * 8 + 1,
        "epochs": 12,
        "examples": 300,
        "evaluation": 2 + 6,
        "predictions": 100 * (2 + 6),
        "rewind": 2 * 9 * 4,
        "gradients": 2 * 25 * (2 + 3),
        "second_split": 2 * 100,
        "retrain": 2 * 9 * 3,
        "flips": 2 * 11 * 2,
        "detection": 2 * (7 + 8),
        "detection_pairs": 2 * (21 + 28),
    }
    return store
