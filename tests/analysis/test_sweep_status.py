"""Status from the store alone: every state of a trial and of a stage, and rates by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.sweep_status import sweep_status
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
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"counts", "stages", "failures", "progress", "waiting"}
    assert found["waiting"] == []  # tests/run/test_c_scores.py has a sweep where something waits
    assert list(found["progress"]) == list(found["stages"])
    assert all(set(c) == {"done", "running", "pending", "failed"} for c in [found["counts"], *found["stages"].values()])
    return found


def count(done: int = 0, running: int = 0, pending: int = 0, failed: int = 0) -> dict[str, int]:
    return {"done": done, "running": running, "pending": pending, "failed": failed}


def progress(parts: int, done: int, per_minute: float | None = None, eta: float | None = None) -> dict[str, Any]:
    return {"parts": parts, "parts_done": done, "per_minute": per_minute, "eta_seconds": eta}


def beat(store: Store, run: str, trial: str, elapsed: float = 0.0, **finished: tuple[int, float]) -> None:
    """A heartbeat of a trial at rewind, of a run that has finished {stage: (parts, seconds)}."""
    sums = {stage: {"parts": parts, "seconds": seconds} for stage, (parts, seconds) in finished.items()}
    records.write_heartbeat(store.files, run, trial, {"stages": ["rewind"], "elapsed": elapsed, "finished": sums})


def test_done(store: Store) -> None:
    assert status(store) == {
        "counts": count(done=2),
        "stages": {"train": count(done=2), "rewind": count(done=1), "evaluate": count(done=2)},
        "failures": [],
        "progress": {"train": progress(2, 2), "rewind": progress(3, 3), "evaluate": progress(2, 2)},
        "waiting": [],
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
    records.write_heartbeat(store.files, "run", trial.id, {"stages": ["rewind"]})
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


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_of_a_run_by_hand(store: Store, plan: Plan) -> None:
    """In 40 s a run has trained 2 trials in 50 s of work and rewound once in 10 s: 1.5 workers; 2 rewinds are left."""
    trial = plan.trials[0]
    for part_id in trial.analyses[0].part_ids[1:]:
        remove_commit(store, part_id)
    beat(store, "run", trial.id, 40.0, train=(2, 50.0), rewind=(1, 10.0))
    found = status(store)
    assert found["progress"] == {
        "train": progress(2, 2, 3.0, 0.0),
        "rewind": progress(3, 1, 1.5, pytest.approx(2 * 10 / 1.5)),  # type: ignore[arg-type]
        "evaluate": progress(2, 2, None, 0.0),
    }
    lines = render(found).splitlines()
    assert lines[0].split() == ["done", "running", "pending", "failed", "per", "min", "ETA"]
    assert [line.split() for line in lines[2:]] == [
        ["trials", "1", "1", "0", "0"],
        ["train", "2", "0", "0", "0", "3"],
        ["rewind", "0", "1", "0", "0", "1.5", "13", "s"],
        ["evaluate", "2", "0", "0", "0"],
        ["about", "13", "s", "to", "go"],
    ]


def test_what_the_run_has_not_done_yet_is_known_from_commits(store: Store, plan: Plan) -> None:
    """Nothing finished: one worker, and the seconds of the sweep's own commits of the stage."""
    first, second = plan.trials
    rewind = first.analyses[0].part_ids
    taken = [store.snapshot().commits[i].seconds for i in rewind]
    evaluated = store.snapshot().commits[second.analyses[0].part_ids[0]].seconds
    remove_commit(store, rewind[2])
    remove_commit(store, first.analyses[1].part_ids[0])
    beat(store, "run", first.id, 5.0)
    found = status(store)["progress"]
    assert found["rewind"] == progress(3, 2, None, pytest.approx(sum(taken[:2]) / 2))  # type: ignore[arg-type]
    assert found["evaluate"] == progress(2, 1, None, pytest.approx(evaluated))  # type: ignore[arg-type]


def test_what_nobody_has_ever_done_is_unknown(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    for part_id in trial.analyses[0].part_ids:
        remove_commit(store, part_id)
    beat(store, "run", trial.id, 20.0, train=(1, 20.0))
    found = status(store)
    assert found["progress"]["rewind"] == progress(3, 0, None, None)
    assert "to go" not in render(found)
    assert "per min" in render(found)


def test_another_sweep_of_the_store_tells_how_long_a_part_takes(store: Store, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, TINY, "seed=9")
    records.write_sweep(store.files, "later", plan.record())
    commits = store.snapshot().commits.values()
    seconds = {stage: [c.seconds for c in commits if c.stage == stage] for stage in ("train", "rewind", "evaluate")}
    records.write_heartbeat(store.files, "run", plan.trials[0].id, {"stages": ["train"], "elapsed": 0.0, "finished": {}})
    found = status(store, "later")
    assert found["stages"]["train"] == count(running=1, pending=1)
    for stage, left in (("train", 2), ("rewind", 3), ("evaluate", 2)):
        expected = left * sum(seconds[stage]) / len(seconds[stage])
        assert found["progress"][stage] == progress(left, 0, None, pytest.approx(expected))  # type: ignore[arg-type]


def test_runs_side_by_side_add_up(store: Store, plan: Plan) -> None:
    """Run a, told of by two trials (the newer heartbeat counts): 0.5 workers, counted as 1; run b: 2 workers."""
    first, second = plan.trials
    remove_commit(store, first.analyses[0].part_ids[0])
    remove_commit(store, second.analyses[0].part_ids[0])
    beat(store, "a", second.id, 10.0, rewind=(7, 7.0))
    beat(store, "a", first.id, 20.0, rewind=(10, 10.0))
    alone = status(store)["progress"]
    assert alone["rewind"] == progress(3, 2, pytest.approx(30.0), pytest.approx(1.0))  # type: ignore[arg-type]
    beat(store, "b", second.id, 10.0, rewind=(5, 20.0))
    both = status(store)["progress"]
    # 30 and 30 parts per minute; 15 parts in 30 s; 1 + 2 workers.
    assert both["rewind"] == progress(3, 2, pytest.approx(60.0), pytest.approx(2.0 / 3))  # type: ignore[arg-type]


def test_a_driver_that_is_gone_has_no_rate(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = plan.trials[0]
    remove_commit(store, trial.analyses[0].part_ids[0])
    beat(store, "run", trial.id, 10.0, rewind=(2, 20.0))
    assert status(store)["progress"]["rewind"]["eta_seconds"] == pytest.approx(5.0)
    monkeypatch.setattr(records, "HEARTBEAT_FRESH_SECONDS", -1.0)
    found = status(store)
    assert found["progress"]["rewind"] == progress(3, 2)
    assert "ETA" not in render(found)
    assert "to go" not in render(found)


def test_the_heartbeat_of_a_trial_that_is_done_has_no_rate(store: Store, plan: Plan) -> None:
    beat(store, "run", plan.trials[0].id, 10.0, rewind=(2, 20.0))
    assert status(store)["progress"]["rewind"] == progress(3, 3)


def test_a_run_that_has_just_begun(store: Store, plan: Plan) -> None:
    """No time has passed: no rate, and one worker. Nor is anything known of a heartbeat without sums."""
    trial = plan.trials[0]
    remove_commit(store, trial.analyses[0].part_ids[0])
    beat(store, "run", trial.id, 0.0, rewind=(1, 4.0))
    assert status(store)["progress"]["rewind"] == progress(3, 2, None, 4.0)
    records.write_heartbeat(store.files, "run", trial.id, {})
    found = status(store)
    assert found["counts"] == count(done=1, running=1)
    assert found["stages"]["rewind"] == count(pending=1)
    assert found["progress"]["train"] == progress(2, 2, None, 0.0)


def test_what_failed_is_not_waited_for(store: Store, plan: Plan) -> None:
    first, second = plan.trials
    for part_id in first.analyses[0].part_ids[:2]:
        remove_commit(store, part_id)
    for part_id in (second.id, *second.analyses[0].part_ids):
        remove_commit(store, part_id)
    records.record_failure(store.files, first.analyses[0].part_ids[0], first.id, "rewind", "ValueError: no luck")
    records.record_failure(store.files, second.id, second.id, "train", "ValueError: no luck")
    beat(store, "run", first.id, 10.0, rewind=(1, 6.0))
    found = status(store)["progress"]
    assert found["rewind"] == progress(3, 1, pytest.approx(6.0), pytest.approx(6.0))  # type: ignore[arg-type]
    assert found["train"] == progress(2, 1, None, 0.0)
    assert found["evaluate"] == progress(2, 1, None, 0.0)


def test_several_stages_of_a_trial_run_at_once(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    for analysis in trial.analyses:
        remove_commit(store, analysis.part_ids[0])
    records.write_heartbeat(store.files, "run", trial.id, {"stages": ["rewind", "evaluate"]})
    assert status(store)["stages"] == {
        "train": count(done=2),
        "rewind": count(running=1),
        "evaluate": count(done=1, running=1),
    }
