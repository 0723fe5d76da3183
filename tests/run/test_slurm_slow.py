"""Real sweeps in SLURM jobs of two nodes, pre-empted while they are at work. `preemptions.py` does that many times."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from tests.run.preemptions import submitted
from tests.run.programs import SMALL, assert_same, contents, memloc
from tests.run.slurm import Trouble

pytestmark = pytest.mark.slow


def test_pre_empted_until_it_is_complete(tmp_path: Path, small_store: Path) -> None:
    """While a training trains, while parts run, and when most is done: told and drained, or lost with a node."""
    store = tmp_path / "store"
    slurm, environ = submitted(tmp_path, str(SMALL))
    troubles = [
        Trouble(lambda: list(store.glob("checkpoints/*/epoch-0001*")), "steps"),
        Trouble(lambda: len(list(store.glob("commits/*/*"))) >= 10, "node"),
        Trouble(lambda: len(list(store.glob("commits/*/*"))) >= 40, "all"),
    ]
    assert slurm.run(environ, itertools.chain(troubles, itertools.repeat(None))) == 0
    assert slurm.ends[-1] == "exit code 0"
    assert {"requeued", "node lost"} <= set(slurm.ends)
    assert_same(small_store, store)
    assert not list(store.glob("stops/*"))
    assert not [name for name in os.listdir("/tmp") if name.startswith(f"memloc-{slurm.job}-")]  # also of lost starts


def test_memloc_stop_ends_the_job(tmp_path: Path, small_store: Path) -> None:
    """It is an order of a person: the job must not come back."""
    store = tmp_path / "store"
    slurm, environ = submitted(tmp_path, str(SMALL), "epochs=400", "stop_after_perfect=null")
    stopped = []

    def stop() -> bool:
        if not stopped and list(store.glob("checkpoints/*/epoch-0002*")):
            stopped.append(memloc(tmp_path, "stop", "small", "--store", str(store)))
        return False

    assert slurm.run(environ, itertools.chain([Trouble(stop, "none")], itertools.repeat(None))) == 130
    assert "is told to stop" in stopped[0].out
    assert slurm.ends == ["exit code 130"]
    assert contents(store)["trials"].num_rows == 0
    assert "stopped by `memloc stop`" in (tmp_path / f"memloc-small-{slurm.job}.log").read_text()
