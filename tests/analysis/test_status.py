"""Status from the store alone: every state of a trial and of a stage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.status import sweep_status
from memloc.commands.status import render
from memloc.run.plan import Plan
from memloc.store import Store, records
from tests.conftest import TINY
from tests.run.test_plan import plan_of


@pytest.fixture
def store(tmp_path: Path, tiny: Path) -> Store:
    """A copy of the finished store, to take pieces out of."""
    shutil.copytree(tiny, tmp_path / "store")
    return Store(str(tmp_path / "store"))


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, TINY)


def remove_commit(store: Store, part_id: str) -> None:
    store.files.delete(store.snapshot().paths[part_id])


def status(store: Store, sweep: str | None = "tiny") -> dict[str, Any]:
    found = sweep_status(Store(store.uri), sweep)
    assert json.loads(json.dumps(found)) == found
    assert set(found) == {"counts", "stages", "failures"}
    assert all(set(c) == {"done", "running", "pending", "failed"} for c in [found["counts"], *found["stages"].values()])
    return found


def count(done: int = 0, running: int = 0, pending: int = 0, failed: int = 0) -> dict[str, int]:
    return {"done": done, "running": running, "pending": pending, "failed": failed}


def test_done(store: Store) -> None:
    assert status(store) == {
        "counts": count(done=2),
        "stages": {"train": count(done=2), "rewind": count(done=1), "evaluate": count(done=2)},
        "failures": [],
    }
    assert status(store, None) == status(store)


def test_pending_until_the_last_part(store: Store, plan: Plan) -> None:
    rewind = plan.trials[0].analyses[0]
    remove_commit(store, rewind.part_ids[1])
    assert status(store)["stages"]["rewind"] == count(pending=1)
    assert status(store)["counts"] == count(done=1, pending=1)


def test_running_while_a_heartbeat_is_fresh(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = plan.trials[0]
    remove_commit(store, trial.analyses[0].part_ids[0])
    records.write_heartbeat(store.files, "run", trial.id, {"stage": "rewind", "epoch": 0})
    assert status(store)["stages"]["rewind"] == count(running=1)
    assert status(store)["counts"] == count(done=1, running=1)
    monkeypatch.setattr(records, "HEARTBEAT_FRESH_SECONDS", -1.0)  # of a driver that is gone
    assert status(store)["counts"] == count(done=1, pending=1)


def test_failed_until_a_commit_supersedes_it(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    part_id = trial.analyses[0].part_ids[0]
    text = "Traceback (most recent call last):\n  …\nValueError: no luck"
    records.record_failure(store.files, part_id, trial.id, "rewind", text)
    assert status(store)["failures"] == []  # it was committed after all
    remove_commit(store, part_id)
    found = status(store)
    assert found["counts"] == count(done=1, failed=1)
    assert found["stages"]["rewind"] == count(failed=1)
    (failure,) = found["failures"]
    assert (failure["stage"], failure["trial"], failure["error"]) == ("rewind", trial.id, "ValueError: no luck")
    assert all(line.strip() in render(found) for line in text.splitlines())


def test_nothing_yet(tmp_path: Path, plan: Plan) -> None:
    store = Store(str(tmp_path / "fresh"))
    records.write_sweep(store.files, "tiny", plan.record())
    assert status(store)["counts"] == count(pending=2)
    assert status(store)["stages"] == {"train": count(pending=2), "rewind": count(pending=1), "evaluate": count(pending=2)}
