"""Two drivers on one store share the work. On Ray: test_cluster_slow.py."""

from __future__ import annotations

import errno
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from memloc.run import sharing
from memloc.run.events import Event
from memloc.run.executor import execute
from memloc.run.inline import Inline
from memloc.run.pending import Work, pending
from memloc.run.sharing import Shared
from memloc.store import Patience, Store, leases
from memloc.store import local as on_disk
from memloc.store.leases import Holder, this_process
from tests.conftest import TINY, carry_out, free_price, planned
from tests.run.programs import assert_same, contents, memloc, started
from tests.waiting import LONG, wait_until

TEXT = """
about: Four trainings of some seconds.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 8, batch_size: 32}
blocks: {one: {axes: {seed: 0..3}, stages: {evaluate: {}, rewind: {epochs: [0, 8]}}}}
"""


def trained(home: Path) -> Counter[str]:
    """{trial: how many runs have trained it}, from their logs."""
    found: Counter[str] = Counter()
    for log in (home / "logs").glob("*.log"):
        epochs = (line for line in log.read_text().splitlines() if "kind='epoch'" in line and "metrics={'loss'" in line)
        found.update({line.split("trial='")[1][:16] for line in epochs})
    return found


def test_two_drivers_share_the_work(tmp_path: Path) -> None:
    """Each training is done once, both commands end when everything is done, and the tables are those of one driver."""
    path = tmp_path / "four.yaml"
    path.write_text(TEXT)
    store = tmp_path / "store"
    arguments = ("sweep", str(path), "--executor", "inline", "--store", str(store))
    with started(tmp_path, *arguments, "--json") as one:
        wait_until(lambda: list(store.glob("leases/*")))
        with started(tmp_path, *arguments, "--json") as two:
            ended = [process.communicate(timeout=LONG) for process in (two, one)]
            assert [two.returncode, one.returncode] == [0, 0], ended
    for out, err in ended:
        assert json.loads(out)["counts"]["done"] == 4
        assert err == ""
    assert sorted(trained(tmp_path).values()) == [1] * 4
    assert len(list((tmp_path / "logs").glob("*.log"))) == 2
    assert not list(store.glob("leases/*"))
    assert memloc(tmp_path, *arguments[:-1], str(tmp_path / "alone")).code == 0
    assert_same(tmp_path / "alone", store)


def test_a_killed_driver_s_trials_are_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "four.yaml"
    path.write_text(TEXT.replace("0..3", "0..1"))
    store = tmp_path / "store"
    arguments = ("sweep", str(path), "--executor", "inline", "--store", str(store))
    with started(tmp_path, *arguments) as one:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0002*")))
        with started(tmp_path, *arguments) as two:
            wait_until(lambda: len(list(store.glob("leases/*"))) == 2)
            one.kill()
            _, err = two.communicate(timeout=LONG)
            assert two.returncode == 0, err
    assert "2 of 2 trials done" in err
    assert contents(store)["trials"].num_rows == 2
    assert not list(store.glob("leases/*"))


OTHER = Holder("20261129-120000-bbbbbb", "elsewhere")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shared:
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.01)
    return Shared(planned(tmp_path, TINY), Store(str(tmp_path / "store")), "all", None)


def test_what_others_leave(shared: Shared, tmp_path: Path) -> None:
    first, second = (trial.id for trial in shared.plan.trials)
    files = shared.store.files
    for trial in (first, second):
        leases.take(files, trial, OTHER)
    looks: list[int] = []

    def ordered() -> bool:
        looks.append(1)
        if len(looks) == 5:  # it has given the second one up
            leases.release(files, second, OTHER)
        return len(looks) > 20

    left = shared.left({first, second}, ordered)
    assert len(looks) == 5
    assert {work.trial.id for work in left} == {first, second}


def test_a_lease_from_the_future_is_taken_over(shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its driver has died on another machine, and the clock of the server was set back. The sweep comes to its end."""
    monkeypatch.setattr(leases, "FRESH_SECONDS", 0.3)
    works = pending(shared.plan, shared.store, shared.store.snapshot(), "all")
    held = works[0].trial.id
    leases.take(shared.store.files, held, OTHER)
    os.utime(Path(shared.store.uri, f"leases/{held}.json"), (4e9, 4e9))
    told: list[Event] = []

    class Watcher:
        def planned(self, plan: object) -> None: ...

        def __call__(self, event: Event) -> None:
            told.append(event)

    executor = Inline(shared.store, tmp_path, holder=this_process("20261129-120000-aaaaaa"))
    begun = time.monotonic()

    def is_too_long() -> bool:
        return time.monotonic() > begun + LONG

    outcome = execute(works, executor, free_price(tmp_path), [Watcher()], is_too_long, shared.left)
    assert (outcome.failures, outcome.interrupted) == ({}, False)
    assert [event.kind for event in told if event.trial == held and event.kind in ("elsewhere", "finished")] == [
        "elsewhere",
        "finished",
    ]
    assert shared.store.snapshot().trainings().keys() == {trial.id for trial in shared.plan.trials}


def test_nothing_is_left_of_what_others_have_done(shared: Shared, tmp_path: Path) -> None:
    works = pending(shared.plan, shared.store, shared.store.snapshot(), "all")
    assert carry_out(works, shared.store, tmp_path).failures == {}
    assert shared.left({trial.id for trial in shared.plan.trials}, lambda: False) == []


def test_an_order_ends_the_waiting(shared: Shared) -> None:
    trial = shared.plan.trials[0].id
    leases.take(shared.store.files, trial, OTHER)
    looks: list[int] = []
    assert shared.left({trial}, lambda: looks.append(1) or len(looks) > 3) == []  # type: ignore[func-returns-value]
    assert len(looks) == 4


def test_the_same_rounds_in_one_process(shared: Shared, tmp_path: Path) -> None:
    """What others hold is passed over, and done in a second round when they have given it up."""

    works = pending(shared.plan, shared.store, shared.store.snapshot(), "all")
    held = works[0].trial.id
    leases.take(shared.store.files, held, OTHER)
    told: list[Event] = []

    class Watcher:
        def planned(self, plan: object) -> None:
            told.append(Event("started", "round"))

        def __call__(self, event: Event) -> None:
            if event.kind in ("elsewhere", "finished"):
                told.append(event)
            if event.kind == "finished":
                leases.release(shared.store.files, held, OTHER)

    executor = Inline(shared.store, tmp_path, holder=this_process("20261129-120000-aaaaaa"))

    outcome = execute(works, executor, free_price(tmp_path), [Watcher()], lambda: False, shared.left)
    assert outcome.failures == {}
    assert [(e.kind, e.trial == held) for e in told] == [
        *[("started", False), ("elsewhere", True), ("finished", False)],
        *[("started", False), ("finished", True)],
    ]
    assert told[1].host == "elsewhere"


def test_a_storage_that_stays_away_ends_the_waiting_for_others(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for any work, after the patience: the launch ends in good order, and nothing counts as failed."""
    files = shared.store.files
    works = pending(shared.plan, shared.store, shared.store.snapshot(), "all")
    for work in works:
        leases.take(files, work.trial.id, OTHER)
    told: list[str] = []
    patient = Store(shared.store.uri, Patience(0.3, told.append))
    looks: list[int] = []

    def again(elsewhere: set[str], should_stop: Callable[[], bool]) -> Sequence[Work]:
        def write(root: str, path: str, data: bytes) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

        monkeypatch.setattr(on_disk, "write", write)
        return replace(shared, store=patient).left(elsewhere, lambda: looks.append(1) or len(looks) > 20)  # type: ignore[func-returns-value]

    executor = Inline(shared.store, tmp_path, holder=this_process("20261129-120000-aaaaaa"))
    outcome = execute(works, executor, free_price(tmp_path), [], lambda: False, again)
    assert (len(looks), outcome.failures, outcome.interrupted) == (1, {}, False)
    assert "Read-only file system (waited" in outcome.storage
    assert "Read-only file system" in told[-1]
