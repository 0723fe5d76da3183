"""Which runs `memloc stop` tells: those that are alive, and of the sweep that is named."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.stopping import of_sweep, tell
from memloc.analysis.sweep_status import sweep_status
from memloc.errors import MemlocWarning, UsageError
from memloc.store import Store, heartbeats, layout, records, stops

RUNS = [f"20261128-163005-00000{k}" for k in range(4)]


def test_the_runs_of_a_sweep_and_those_at_work_on_its_trials() -> None:
    runs: list[dict[str, Any]] = [
        {"run": "a", "sweep": "mine@1"},
        {"run": "b", "sweep": "mine@2"},
        {"run": "c", "sweep": "other@1"},
        {"run": "d", "sweep": "other@1"},
        {"run": "e"},
    ]
    beats = {"t1": {"run": "a"}, "t2": {"run": "c"}}

    def names(*wanted: str) -> tuple[str, ...]:
        own, others = of_sweep(runs, beats, wanted)
        return "".join(run["run"] for run in own), "".join(run["run"] for run in others)

    assert names("mine@1", "mine@2") == ("ab", "c")
    assert names("mine@1") == ("a", "c")
    assert names("other@1") == ("cd", "a")
    assert names() == ("", "ac")
    assert of_sweep([], beats, ["mine@1"]) == ([], [])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two sweeps that share the trial 1…; a run of each is alive, and one has died."""
    store = Store(str(tmp_path / "store"))
    one, two = ({"trial": n * 16, "config": {}, "blocks": ["b"], "analyses": []} for n in "12")
    mine, other = (records.write_sweep(store.files, n, t) for n, t in (("mine", [one]), ("other", [one, two])))
    for run, sweep in zip(RUNS, (mine, other, mine), strict=False):
        heartbeats.write_run(store.files, run, {"sweep": sweep, "host": f"host of {sweep}", "state": "running"})
    heartbeats.write(store.files, RUNS[0], "1" * 16, {"stages": ["train"], "state": "running"})
    heartbeats.write(store.files, RUNS[1], "2" * 16, {"stages": ["flips", "rewind"], "state": "running"})
    age(store, RUNS[2])
    return store


def age(store: Store, run: str) -> None:
    """The last heartbeat of a run is old: its driver has died."""
    then = time.time() - heartbeats.FRESH_SECONDS - 1
    for path in store.files.listing(f"{layout.HEARTBEATS}/{run}"):
        os.utime(Path(store.uri, path), (then, then))


@pytest.mark.parametrize("rest", [b"[]", None], ids=["damaged", "gone"])
def test_a_run_whose_record_cannot_be_read(store: Store, rest: bytes | None) -> None:
    """It says itself what it carries out."""
    (path,) = (p for p in store.files.listing(layout.SWEEPS) if "/mine/" in p)
    Path(store.uri, path).unlink()
    if rest is not None:
        Path(store.uri, path).write_bytes(rest)
    for name in ("mine", f"mine@{layout.record_sha(path)}"):
        assert [told.run for told in tell(store, name).told] == RUNS[:1]
    with pytest.raises(UsageError):
        tell(store, "min")


def test_this_machine_s_clock_does_not_say_who_is_alive(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert [told.run for told in tell(store, None).told] == RUNS[:2]


def test_the_runs_of_the_sweep_that_are_alive(store: Store) -> None:
    stopped = tell(store, "mine")
    assert [(t.run, t.host, t.state, t.stages, t.before) for t in stopped.told] == [
        (RUNS[0], stopped.told[0].host, "running", {"train": 1}, False)
    ]
    assert re.fullmatch("host of mine@[0-9a-f]{8}", stopped.told[0].host)
    assert stopped.others == []
    assert list(stops.read(store.files)) == [RUNS[0]]
    states = {run["run"]: run["state"] for run in sweep_status(store, None)["runs"]}
    assert states == {RUNS[0]: "stopping", RUNS[1]: "running"}
    assert [t.before for t in tell(store, "mine").told] == [True]


def test_all_runs_of_the_store(store: Store) -> None:
    stages = {told.run: told.stages for told in tell(store, None).told}
    assert stages == {RUNS[0]: {"train": 1}, RUNS[1]: {"flips": 1, "rewind": 1}}
    assert sorted(stops.read(store.files)) == RUNS[:2]


def test_a_run_of_another_sweep_on_the_same_trial_goes_on(store: Store) -> None:
    stopped = tell(store, "other")
    assert [told.run for told in stopped.told] == [RUNS[1]]
    assert [name.partition("@")[0] for name in stopped.others] == ["mine"]


def test_nothing_is_alive_and_an_unknown_sweep(store: Store) -> None:
    for run in RUNS[:2]:
        age(store, run)
    assert tell(store, None).told == tell(store, "mine").told == []
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        tell(store, "mien")
    assert stops.read(store.files) == {}


def test_what_only_looks_like_a_run(store: Store) -> None:
    heartbeats.write_run(store.files, "..evil", {"state": "running"})
    with pytest.warns(MemlocWarning, match=r"heartbeats/\.\.evil/run.json names no run of memloc"):
        assert [told.run for told in tell(store, None).told] == RUNS[:2]
