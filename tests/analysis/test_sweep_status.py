"""Status from the store alone: every state of a trial and of a stage, and rates by hand."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memloc.analysis.sweep_status import sweep_status
from memloc.commands.status import render
from memloc.data import load
from memloc.errors import MemlocWarning
from memloc.run.clock import PricedPlan
from memloc.run.fanout import PricedPart
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.provenance import numerics
from memloc.run.schedule import Slots, TrialCost
from memloc.run.trainer import run_training
from memloc.run.worker import Worker
from memloc.store import Store, commits, heartbeats, layout, records, run_layout, stops
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
    keys = {"counts", "stages", "failures", "progress", "waiting", "superseded", "partial", "stopped", "runs", "at_work"}
    assert set(found) == {*keys, "eta_seconds", "launched"}
    assert found["waiting"] == []  # tests/run/test_c_scores.py has a sweep where something waits
    assert list(found["progress"]) == list(found["stages"])
    assert all(set(c) == {"done", "running", "pending", "failed"} for c in [found["counts"], *found["stages"].values()])
    return found


def count(done: int = 0, running: int = 0, pending: int = 0, failed: int = 0) -> dict[str, int]:
    return {"done": done, "running": running, "pending": pending, "failed": failed}


def progress(parts: int, done: int) -> dict[str, int]:
    return {"parts": parts, "parts_done": done}


def test_done(store: Store) -> None:
    found = status(store)
    del found["launched"]
    assert found == {
        "counts": count(done=2),
        "stages": {"train": count(done=2), "rewind": count(done=1), "evaluate": count(done=2)},
        "failures": [],
        "progress": {"train": progress(2, 2), "rewind": progress(3, 3), "evaluate": progress(2, 2)},
        "waiting": [],
        "superseded": {"trainings": 0, "analyses": 0},
        "partial": [],
        "stopped": [],
        "runs": [],
        "at_work": [],
        "eta_seconds": None,
    }
    assert status(store, None) == status(store)


def test_when_it_was_launched(store: Store, tmp_path: Path) -> None:
    """By the date of its record; in a copy of the store, whose files are younger, by what was computed first."""
    (record,) = store.files.dates("sweeps").items()
    at = 1_700_000_000  # before anything was computed
    os.utime(store.files.full(record[0]), (at, at))
    name = f"tiny@{layout.record_sha(record[0])}"
    (found,) = status(store)["launched"].items()
    assert (found[0], datetime.fromisoformat(found[1]).timestamp()) == (name, at)
    os.utime(store.files.full(record[0]), (2 * at, 2 * at))
    first = min(commit.ended - commit.seconds for commit in store.snapshot().commits.values())
    assert datetime.fromisoformat(status(store)["launched"][name]).timestamp() == pytest.approx(first, abs=1)


def test_pending_until_the_last_part(store: Store, plan: Plan) -> None:
    rewind = plan.trials[0].analyses[0]
    remove_commit(store, rewind.part_ids[1])
    assert status(store)["stages"]["rewind"] == count(pending=1)
    assert status(store)["counts"] == count(done=1, pending=1)


def test_running_while_a_heartbeat_is_fresh(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = plan.trials[0]
    remove_commit(store, trial.analyses[0].part_ids[0])
    heartbeats.write(store.files, "run", trial.id, {"stages": ["rewind"]})
    assert status(store)["stages"]["rewind"] == count(running=1)
    assert status(store)["counts"] == count(done=1, running=1)
    monkeypatch.setattr(heartbeats, "FRESH_SECONDS", -1.0)  # of a driver that is gone
    assert status(store)["counts"] == count(done=1, pending=1)


def test_failed_until_a_commit_supersedes_it(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    part_id = trial.analyses[0].part_ids[0]
    text = "Traceback (most recent call last):\n  …\nValueError: no luck"
    records.record_failure(store.files, records.Failure(part_id, trial.id, "rewind", text, "ValueError: no luck"))
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


# --- who is at work, and for how long ---------------------------------------------------------------------------------


def price(plan: Plan, reached: int = 0, reliable: bool = False) -> PricedPlan:
    """The prices of a run that has all to do: 8 s a training of two epochs, 3 s a part of rewind, 1 s one of evaluate.

    Two parts of rewind together take 5 s.
    """
    costs = []
    for trial in plan.trials:
        parts = [
            PricedPart(i, a.id, a.stage, 3.0, 1.0, 30.0) if a.stage == "rewind" else PricedPart(i, a.id, a.stage, 1.0)
            for a in trial.analyses
            for i in a.part_ids
        ]
        costs.append(TrialCost(trial.id, 8.0 * (1 - reached / 2), (tuple(parts),), reached=reached, epochs=2))
    return PricedPlan(tuple(costs), Slots(1), "given", reliable)


def at_work(store: Store, plan: PricedPlan | None, sweep: str = "tiny", run: str = "run") -> None:
    """A run on a host far away; without a plan it has not begun yet."""
    record = {"sweep": sweep, "host": "far", "state": "running" if plan else "starting", "begun": time.time()}
    heartbeats.write_run(store.files, run, record)
    if plan:
        heartbeats.write_plan(store.files, run, plan.as_json())


def beat(store: Store, trial: str, **fields: Any) -> None:
    """A heartbeat of a training that is at work."""
    note = {"stages": ["train"], "state": "running", "host": "far", "news": time.time(), **fields}
    heartbeats.write(store.files, "run", trial, note)


@pytest.fixture
def fresh(tmp_path: Path, plan: Plan) -> Store:
    """A store with the sweep's record alone."""
    store = Store(str(tmp_path / "fresh"))
    records.write_sweep(store.files, "tiny", plan.record())
    return store


def retime(store: Store, seconds: dict[str, float]) -> None:
    """As if the parts of these stages had taken so long, and had ended just now."""
    snapshot = store.snapshot()
    for part_id, commit in snapshot.commits.items():
        store.files.delete(snapshot.paths[part_id])
        passes = 20.0 if commit.stage == "rewind" else commit.passes  # of three together: 2 of 3 s each
        commits.publish(store.files, replace(commit, seconds=seconds[commit.stage], passes=passes, ended=time.time()))


def test_a_run_that_is_starting(fresh: Store) -> None:
    name = records.read_sweep(fresh.files, "tiny")[0]
    at_work(fresh, None, f"tiny@{name.sha}")
    found = status(fresh)
    (run,) = found["runs"]
    assert (run["run"], run["host"], run["state"], run["slots"], run["eta_seconds"]) == (
        "run",
        "far",
        "starting",
        None,
        None,
    )
    assert 0 <= run["heard_seconds_ago"] < 60
    assert found["counts"] == count(pending=2)
    assert "run run on far: starting (last heartbeat" in render(found)


def test_a_run_of_another_sweep_is_none_of_this_one(fresh: Store) -> None:
    at_work(fresh, None, "other@01234567")
    assert status(fresh)["runs"] == []


def test_time_left_by_hand(store: Store, plan: Plan) -> None:
    """Everything took twice its price: 32 s for the trainings' 16, 12 for rewind's 6, 2 for one evaluate. 1 s is left."""
    trial = plan.trials[0]
    retime(store, {"train": 16.0, "rewind": 4.0, "evaluate": 2.0})
    remove_commit(store, trial.analyses[1].part_ids[0])
    at_work(store, price(plan))
    beat(store, trial.id, stages=["evaluate"])
    found = status(store)
    assert found["counts"] == count(done=1, running=1)
    assert found["eta_seconds"] == pytest.approx(2.0, abs=0.5)
    assert found["runs"][0]["slots"] == 1
    assert "run run on far: running, about 2 s to go (last heartbeat" in render(found)


@pytest.mark.parametrize("said", [True, False], ids=["after Ctrl-C", "told"])
def test_a_run_that_is_stopping_has_no_time_left(store: Store, plan: Plan, said: bool) -> None:
    """The time left is that of the whole sweep, which a run that is stopping will not finish."""
    trial = plan.trials[0]
    retime(store, {"train": 16.0, "rewind": 4.0, "evaluate": 2.0})
    remove_commit(store, trial.analyses[1].part_ids[0])
    run, sweep = "20261128-163005-000000", f"tiny@{records.read_sweep(store.files, 'tiny')[0].sha}"
    at_work(store, price(plan), sweep, run)
    assert status(store)["eta_seconds"] == pytest.approx(2.0, abs=0.5)
    if said:
        heartbeats.write_run(store.files, run, {"sweep": sweep, "host": "far", "state": "stopping"})
    else:
        stops.give(store.files, run)
    found = status(store)
    assert (found["runs"][0]["slots"], found["runs"][0]["eta_seconds"], found["eta_seconds"]) == (1, None, None)
    assert f"run {run} on far: stopping (last heartbeat" in render(found)


def test_without_prices_counts_and_no_time(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    retime(store, {"train": 16.0, "rewind": 4.0, "evaluate": 2.0})
    remove_commit(store, trial.analyses[1].part_ids[0])
    at_work(store, None)
    beat(store, trial.id, stages=["evaluate"])
    found = status(store)
    assert (found["counts"], found["eta_seconds"]) == (count(done=1, running=1), None)
    assert "to go" not in render(found)
    store.files.put(run_layout.run_plan("run"), b"{half of it")
    with pytest.warns(MemlocWarning, match=r"heartbeats/run/plan.json is no JSON"):
        assert status(store)["eta_seconds"] is None


def test_a_training_under_way(fresh: Store, plan: Plan) -> None:
    """An epoch took 6 s and its price is 4: 1.5 times the price. One epoch alone is too little to know."""
    first, second = plan.trials
    at_work(fresh, price(plan))
    training = {
        "epochs": 2,
        "from_epoch": 0,
        "metrics": {"loss": 0.25, "clean_acc": 0.5, "noisy_acc": 0.1, "test_acc": None},
    }
    beat(fresh, first.id, epoch=1, seconds=6.0, **training)
    beat(fresh, second.id, state="waiting", epoch=None)
    found = status(fresh)
    assert found["counts"] == count(running=1, pending=1)  # the one that waits for a place does not run
    assert found["eta_seconds"] is None
    beat(fresh, second.id, epoch=1, seconds=6.0, **training)
    found = status(fresh)
    rewound = 3 + 2 * 2.0  # three together
    assert found["eta_seconds"] == pytest.approx(1.5 * (4 + 4 + rewound + 1 + 1), abs=0.5)
    (one, other) = found["at_work"]
    assert (one["trial"], one["epoch"], one["epochs"], one["host"], one["state"]) == (first.id, 1, 2, "far", "running")
    line = next(line for line in render(found).splitlines() if first.id[:8] in line)
    assert line.startswith(f"  {first.id[:8]} epoch 1 of 2 on far: loss 0.25 clean 50% noisy 10%; last news ")
    assert other["metrics"] == training["metrics"]


def test_prices_that_were_measured_tell_the_time_at_once(fresh: Store, plan: Plan) -> None:
    at_work(fresh, price(plan, reliable=True))
    beat(fresh, plan.trials[0].id, state="waiting")
    assert status(fresh)["eta_seconds"] == pytest.approx(16 + 7 + 2, abs=0.5)


def test_starting_is_told_from_running(fresh: Store, plan: Plan) -> None:
    first, second = plan.trials
    at_work(fresh, price(plan))
    beat(fresh, first.id, state="starting")
    beat(fresh, second.id, state="waiting")
    lines = render(status(fresh)).splitlines()
    assert any(first.id[:8] in line and "its training's process is starting on far" in line for line in lines)
    assert any(second.id[:8] in line and "its training waits for a place" in line for line in lines)
    beat(fresh, second.id, state="waiting", stages=["train"], fault="waits for A100: the cluster has H100 alone now")
    lines = render(status(fresh)).splitlines()
    assert any(f"{second.id[:8]} train waits for A100: the cluster has H100 alone now; last news" in line for line in lines)


def test_a_training_that_goes_on_says_from_where(fresh: Store, plan: Plan) -> None:
    at_work(fresh, price(plan, reached=1))
    beat(fresh, plan.trials[0].id, epoch=1, epochs=2, from_epoch=1, seconds=0.0, metrics=None)
    assert f"  {plan.trials[0].id[:8]} epoch 1 of 2, from epoch 1 on on far; last news" in render(status(fresh))


def test_what_failed_is_not_waited_for(store: Store, plan: Plan) -> None:
    first, second = plan.trials
    retime(store, {"train": 8.0, "rewind": 2.0, "evaluate": 1.0})
    for part_id in first.analyses[0].part_ids[:2]:
        remove_commit(store, part_id)
    for part_id in (second.id, *second.analyses[0].part_ids):
        remove_commit(store, part_id)
    records.record_failure(
        store.files,
        records.Failure(first.analyses[0].part_ids[0], first.id, "rewind", "ValueError: no luck", "ValueError: no luck"),
    )
    records.record_failure(
        store.files, records.Failure(second.id, second.id, "train", "ValueError: no luck", "ValueError: no luck")
    )
    at_work(store, price(plan))
    beat(store, first.id, stages=["rewind"])
    assert status(store)["eta_seconds"] == pytest.approx(3.0, abs=0.5)  # one part alone


def test_a_driver_that_is_gone_has_no_time(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    retime(store, {"train": 8.0, "rewind": 2.0, "evaluate": 1.0})
    remove_commit(store, plan.trials[0].analyses[0].part_ids[0])
    at_work(store, price(plan))
    beat(store, plan.trials[0].id, stages=["rewind"])
    assert status(store)["eta_seconds"]
    monkeypatch.setattr(heartbeats, "FRESH_SECONDS", -1.0)
    found = status(store)
    assert (found["runs"], found["at_work"], found["eta_seconds"]) == ([], [], None)
    assert "to go" not in render(found)


def test_two_runs_the_later_one_ends_it_and_one_that_says_nothing_leaves_it_open(fresh: Store, plan: Plan) -> None:
    first, second = plan.trials
    prices = price(plan, reliable=True)
    at_work(fresh, replace(prices, trials=prices.trials[:1]), run="run")
    at_work(fresh, replace(prices, trials=prices.trials[1:]), run="other")
    beat(fresh, first.id, state="waiting")
    heartbeats.write(fresh.files, "other", second.id, {"stages": ["train"], "state": "waiting", "host": "b"})
    assert status(fresh)["eta_seconds"] == pytest.approx(8 + 7 + 1, abs=0.5)
    fresh.files.delete(run_layout.run_plan("other"))
    assert status(fresh)["eta_seconds"] is None


def test_heartbeats_of_another_version(fresh: Store, plan: Plan) -> None:
    """Whatever they lack is not known."""
    heartbeats.write(fresh.files, "run", plan.trials[0].id, {"stages": ["train"]})
    found = status(fresh)
    assert found["counts"] == count(running=1, pending=1)
    assert found["at_work"][0]["news_seconds_ago"] is None
    assert plan.trials[0].id[:8] in render(found)


@pytest.mark.parametrize(("ahead", "counts"), [(1800.0, True), (1e8, False)])
def test_a_heartbeat_from_the_future(fresh: Store, ahead: float, counts: bool) -> None:
    """This machine's clock may be behind, but not by years: the clock of the server was set back, and the run is gone."""
    heartbeats.write_run(fresh.files, "run", {"state": "running"})
    os.utime(fresh.files.full(run_layout.run_heartbeat("run")), (time.time() + ahead,) * 2)
    assert [run["run"] for run in heartbeats.read(fresh.files)[1]] == (["run"] if counts else [])


def test_numbers_of_a_training_that_diverges(fresh: Store, plan: Plan) -> None:
    """Those that are finite are shown."""
    metrics = {"loss": math.nan, "clean_acc": 0.1, "noisy_acc": math.inf, "test_acc": None}
    heartbeats.write(fresh.files, "run", plan.trials[0].id, {"stages": ["train"], "epoch": 1, "metrics": metrics})
    (beat,) = heartbeats.read(fresh.files)[0].values()
    assert beat["metrics"] == {"loss": None, "clean_acc": 0.1, "noisy_acc": None, "test_acc": None}
    assert "clean 10%" in render(status(fresh))


@pytest.mark.parametrize("epoch", [-1, 10**30, 1.5, True, "3", None])
def test_an_epoch_that_cannot_be_one_is_left_out(fresh: Store, plan: Plan, epoch: Any) -> None:
    heartbeats.write(fresh.files, "run", plan.trials[0].id, {"stages": ["train"], "epoch": epoch})
    (beat,) = heartbeats.read(fresh.files)[0].values()
    assert "epoch" not in beat


def test_files_that_are_no_heartbeats(fresh: Store) -> None:
    """They hide none that is one."""
    for path in ("heartbeats/notes.json", "heartbeats/run/deep/x.json", "heartbeats/run/notes.txt"):
        fresh.files.put(path, b"{}")
    assert heartbeats.read(fresh.files) == ({}, [])
    fresh.files.put("heartbeats/run/0.json", b"no JSON")  # the first to be read
    heartbeats.write(fresh.files, "run", "a" * 16, {"stages": ["train"]})
    assert list(heartbeats.read(fresh.files)[0]) == ["a" * 16]


# --- training again, since a checkpoint is lost ------------------------------------------------------------------------


def replay(plan: Plan, store: Store) -> tuple[PricedPlan, str]:
    """The prices of a run that trains the first trial again up to epoch 1 of 2 (4 s), and computes its evaluate (1 s)."""
    trial = plan.trials[0]
    parts = tuple(PricedPart(i, a.id, a.stage, 1.0) for a in trial.analyses[1:] for i in a.part_ids)
    cost = TrialCost(trial.id, 4.0, (parts,), epochs=1, replays=True)
    for part in parts:
        remove_commit(store, part.id)
    return PricedPlan((cost,), Slots(1), "given", reliable=True), trial.id


def test_a_training_that_trains_again_is_running_and_has_a_price(store: Store, plan: Plan) -> None:
    retime(store, {"train": 1000.0, "rewind": 2.0, "evaluate": 1.0})  # the old commit says nothing of the pace
    prices, trial = replay(plan, store)
    at_work(store, prices)
    beat(store, trial, replays=True, epoch=0, epochs=1, from_epoch=0, seconds=0.0)
    found = status(store)
    assert found["counts"] == count(done=1, running=1)
    assert found["stages"]["train"] == count(done=1, running=1)
    assert found["eta_seconds"] == pytest.approx(4.0 + 1.0, abs=0.5)
    assert f"  {trial[:8]} trains again, since a checkpoint is gone: epoch 0 of 1 on far" in render(found)
    beat(store, trial, replays=True, stages=["evaluate"])
    at_work(store, prices)
    run = {"sweep": "tiny", "host": "far", "state": "running", "replayed": {trial: 4.0}}
    heartbeats.write_run(store.files, "run", run)
    found = status(store)
    assert found["stages"]["train"] == count(done=2)
    assert found["eta_seconds"] == pytest.approx(1.0, abs=0.5)


def test_training_again_that_failed_stays_a_failure(store: Store, plan: Plan) -> None:
    trial = plan.trials[0].id
    retime(store, {"train": 1.0, "rewind": 1.0, "evaluate": 1.0})
    records.record_failure(
        store.files, records.Failure(trial, trial, "train", "Traceback\nReplayError: no", "ReplayError: no")
    )
    found = status(store)
    assert (found["counts"], found["stages"]["train"]) == (count(done=1, failed=1), count(done=1, failed=1))
    assert [f["error"] for f in found["failures"]] == ["ReplayError: no"]


# --- whatever another version, or nobody, has written ------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted(heartbeats.FIELDS)


@pytest.mark.filterwarnings("ignore::memloc.errors.MemlocWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_heartbeat_or_plan_is_a_traceback(fresh: Store, plan: Plan, data: st.DataObject) -> None:
    trial = plan.trials[0].id
    content = JSON | st.dictionaries(st.sampled_from(NAMES), JSON)
    for path in (run_layout.heartbeat("run", trial), run_layout.run_heartbeat("run")):
        record = {"sweep": "tiny", "stages": ["train"], "updated": time.time()} if data.draw(st.booleans()) else {}
        drawn = data.draw(content)
        record = {**record, **drawn} if isinstance(drawn, dict) else drawn
        fresh.files.put(path, json.dumps(record).encode())
    known = json.loads(json.dumps(price(plan, reliable=True).as_json()))
    place = data.draw(st.sampled_from(list(places(known))))
    fresh.files.put(run_layout.run_plan("run"), json.dumps(replaced(known, place, data.draw(JSON))).encode())
    render(status(fresh))


def places(value: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values in some JSON."""
    yield prefix
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from places(below, (*prefix, key))


def replaced(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    """The same JSON with another value in one place."""
    if not place:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], other)
    return copy


def test_a_plan_of_another_version_is_no_time(fresh: Store, plan: Plan) -> None:
    at_work(fresh, price(plan, reliable=True))
    beat(fresh, plan.trials[0].id, state="waiting")
    assert status(fresh)["eta_seconds"] is not None
    for trials in ([{"trial": "a", "of_the_future": 1}], [{**vars(price(plan).trials[0]), "trainer": 2.0, "waves": []}]):
        record = {**price(plan, reliable=True).as_json(), "trials": trials}
        heartbeats.write_plan(fresh.files, "run", record)
        (run,) = status(fresh)["runs"]
        assert (run["slots"], run["eta_seconds"]) == (None, None)


def test_the_drivers_clock_may_be_wrong(fresh: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver whose clock is an hour behind is at work, and its last news are as old as they are."""
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(heartbeats.time, "time", lambda: now - 3600)
        heartbeats.write(fresh.files, "run", plan.trials[0].id, {"stages": ["train"], "news": now - 3600 - 5})
    (trial,) = status(fresh)["at_work"]
    assert trial["news_seconds_ago"] == pytest.approx(5, abs=2)


# --- trainings that are begun -----------------------------------------------------------------------------------------


def test_how_far_a_training_is_that_nobody_is_at_work_on(fresh: Store, tmp_path: Path, plan: Plan) -> None:
    """Stopped after its first epoch: known from its checkpoint and the state it would go on from."""
    (work, _) = pending(plan, fresh, fresh.snapshot(), "all")
    epochs: list[int] = []
    worker = Worker(fresh, lambda name: load(name, tmp_path), torch.device("cpu"))
    assert not run_training(worker, work, lambda epoch, row: epochs.append(epoch), lambda: epochs[-1] == 1)
    found = status(fresh)
    assert found["partial"] == [{"trial": work.trial.id, "epoch": 1, "epochs": 2}]
    assert [w.reached for w in pending(plan, fresh, fresh.snapshot(), "all")] == [1, 0]
    assert [w.reached for w in pending(plan, fresh, fresh.snapshot(), "all", numerics="another device")] == [0, 0]
    here = numerics(torch.device("cpu"))
    assert [w.reached for w in pending(plan, fresh, fresh.snapshot(), "all", numerics=here)] == [1, 0]
    assert found["counts"] == count(pending=2)
    text = render(found)
    assert "These trainings have begun and no run is working on them. The command that began them continues them:" in text
    assert f"  {work.trial.id[:8]} epoch 1 of 2" in text
    for path in fresh.files.listing(layout.CHECKPOINTS):
        if layout.is_resume_state(path):
            fresh.files.delete(path)
    assert status(fresh)["partial"] == []  # it would begin anew


def test_several_stages_of_a_trial_run_at_once(store: Store, plan: Plan) -> None:
    trial = plan.trials[0]
    for analysis in trial.analyses:
        remove_commit(store, analysis.part_ids[0])
    heartbeats.write(store.files, "run", trial.id, {"stages": ["rewind", "evaluate"]})
    assert status(store)["stages"] == {
        "train": count(done=2),
        "rewind": count(running=1),
        "evaluate": count(done=1, running=1),
    }


def test_lines_fit_into_a_terminal(fresh: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but tracebacks, which are to be copied. In a pipe a line stays one."""
    at_work(fresh, price(plan))
    numbers = {"loss": 0.123456, "clean_acc": 0.5, "noisy_acc": 0.25, "test_acc": 0.75}
    beat(fresh, plan.trials[0].id, host="a" * 30, epoch=1, epochs=2, from_epoch=1, seconds=1.0, metrics=numbers)
    text = f"Traceback (most recent call last):\n  {'x' * 90}\nValueError: no luck"
    part = plan.trials[1].part_ids[-1]
    records.record_failure(fresh.files, records.Failure(part, plan.trials[1].id, "evaluate", text, "no luck " * 12))
    found = status(fresh)
    whole = render(found)
    assert max(map(len, whole.splitlines())) > 100
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    shown = render(found)
    assert " ".join(shown.split()) == " ".join(whole.split())
    assert [line for line in shown.splitlines() if len(line) > 80] == [f"    {'x' * 90}"]
    (at,) = (n for n, line in enumerate(shown.splitlines()) if line.startswith(f"  {plan.trials[0].id[:8]} epoch 1"))
    assert shown.splitlines()[at + 1].startswith("    ")  # it belongs to the line above
