"""What a run tells other shells of itself: where each of its trials is, and its prices."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from memloc.errors import StorageError, StoreError
from memloc.run import pulse
from memloc.run.clock import PricedPlan
from memloc.run.cost import Rate
from memloc.run.estimate import cost_model, price
from memloc.run.events import Event
from memloc.run.pending import Work, pending
from memloc.run.pulse import Heartbeats, new_run
from memloc.run.schedule import Slots
from memloc.store import Files, Snapshot, Store, heartbeats, layout, leases, stops
from memloc.store.leases import Holder
from tests.conftest import TINY, carry_out
from tests.run.test_plan import plan_of
from tests.waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def works(tmp_path: Path, store: Store) -> list[Work]:
    return pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")


@contextmanager
def beating(store: Store, works: list[Work]) -> Iterator[Heartbeats]:
    with Heartbeats(store, works, "tiny@0123abcd", new_run()) as made:
        yield made


@pytest.fixture
def beats(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeats]:
    monkeypatch.setattr(pulse, "SECONDS", 0.05)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    with beating(store, works) as made:
        yield made


def part(work: Work, nth: int, seconds: float) -> Event:
    analysis, part_id, _ = work.parts[nth]
    return Event("part", work.trial.id, analysis.stage, part_id=part_id, seconds=seconds)


def priced(works: list[Work], folder: Path) -> PricedPlan:
    model = cost_model(works, Snapshot({}, {}, []), folder, None, lambda trial, shape: Rate(0.001, "given"))
    return price(works, model, Slots(1, 2.0))


def test_the_stages_that_a_trial_is_at(works: list[Work], beats: Heartbeats) -> None:
    """rewind has three parts, evaluate one; the tasks run side by side and end in any order."""
    work, trial = works[0], works[0].trial.id
    assert [a.stage for a, _, _ in work.parts] == ["rewind", "rewind", "rewind", "evaluate"]
    steps = [
        (Event("started", trial), ["train"]),
        (Event("placed", trial, "train", host="there"), ["train"]),
        (Event("epoch", trial, "train", epoch=0), ["train"]),
        (Event("trained", trial, "train", seconds=3.0), ["rewind"]),  # what comes first, until there is news of it
        (part(work, 1, 1.0), ["rewind"]),
        (part(work, 3, 1.0), ["rewind"]),
        (part(work, 0, 1.0), ["rewind"]),
        (part(work, 2, 1.0), []),
    ]
    for event, stages in steps:
        beats(event)
        assert beats.notes()[trial]["stages"] == stages
    beats(Event("finished", trial))
    assert beats.notes() == {}


def test_how_far_a_training_is(works: list[Work], beats: Heartbeats) -> None:
    """It waits, starts, goes on from epoch 1; lost, it starts once more and counts from where it goes on then."""
    trial = works[0].trial.id

    def note(event: Event) -> dict[str, Any]:
        beats(event)
        said = beats.notes()[trial]
        assert abs(said.pop("news") - time.time()) < 60
        assert said.pop("stages") == ["train"]
        return said

    assert note(Event("started", trial)) == {"state": "waiting", "host": beats._host}
    assert note(Event("placed", trial, "train", host="there")) == {"state": "starting", "host": "there"}
    running = {"state": "running", "host": "there", "epochs": 2, "from_epoch": 1}
    assert note(Event("epoch", trial, "train", epoch=1)) == {**running, "epoch": 1, "seconds": 0.0}
    told = note(Event("epoch", trial, "train", epoch=2, metrics={"loss": 0.5}, seconds=1.5))
    assert told == {**running, "epoch": 2, "seconds": 1.5, "metrics": {"loss": 0.5}}
    told = note(Event("epoch", trial, "train", epoch=3, metrics={"loss": 0.25}, seconds=1.0))
    assert told == {**running, "epoch": 3, "seconds": 2.5, "metrics": {"loss": 0.25}}
    assert note(Event("placed", trial, "train", host="elsewhere"))["state"] == "starting"
    again = note(Event("epoch", trial, "train", epoch=0))
    assert (again["host"], again["from_epoch"], again["epoch"], again["seconds"]) == ("elsewhere", 0, 0, 0.0)


def test_a_training_that_waits_for_a_kind_of_card(works: list[Work], beats: Heartbeats) -> None:
    trial = works[0].trial.id
    for event in (Event("started", trial), Event("needs", trial, "train", error="waits for an A100")):
        beats(event)
    assert {k: beats.notes()[trial][k] for k in ("state", "fault")} == {"state": "waiting", "fault": "waits for an A100"}
    beats(Event("placed", trial, "train", host="there"))
    assert {k: beats.notes()[trial][k] for k in ("state", "fault")} == {"state": "starting", "fault": ""}
    beats(Event("needs", trial, "gradients", error="waits for an A100"))
    beats(Event("needs", trial, "gradients"))
    assert {k: beats.notes()[trial][k] for k in ("state", "fault")} == {"state": "running", "fault": ""}


def test_a_training_that_runs_out_of_memory_waits_again(works: list[Work], beats: Heartbeats) -> None:
    trial = works[0].trial.id
    for event in (Event("started", trial), Event("placed", trial, "train", host="there"), Event("epoch", trial, "train")):
        beats(event)
    assert beats.notes()[trial]["state"] == "running"
    beats(Event("again", trial, "train", part_id=trial, error="no memory"))
    assert beats.notes()[trial]["state"] == "waiting"


def test_news_from_the_middle_of_a_training(works: list[Work], beats: Heartbeats) -> None:
    """Whoever should have passed on its beginning was lost."""
    trial = works[0].trial.id
    beats(Event("epoch", trial, "train", epoch=3, metrics={"loss": 1.0}, seconds=2.0))
    beats(Event("epoch", trial, "train", epoch=4, metrics={"loss": 0.5}, seconds=3.0))
    note = beats.notes()[trial]
    assert (note["state"], note["from_epoch"], note["epoch"], note["seconds"]) == ("running", 2, 4, 5.0)
    assert note["metrics"] == {"loss": 0.5}


def test_stages_side_by_side(store: Store, works: list[Work]) -> None:
    """A stage of which a part is done and another is not has begun, whatever else has."""
    work, trial = works[0], works[0].trial.id
    more = Work(work.trial, "train", [*work.parts, (work.parts[3][0], "another", {})])
    with beating(store, [more]) as beats:
        beats(Event("trained", trial, "train", seconds=3.0))
        beats(part(work, 3, 1.0))
        assert beats.notes()[trial]["stages"] == ["rewind", "evaluate"]
        for nth in (0, 1):
            beats(part(work, nth, 1.0))
        beats(Event("failed", trial, "rewind", part_id=work.parts[2][1], error="ValueError"))
        assert beats.notes()[trial]["stages"] == ["evaluate"]


def test_a_trial_of_which_only_analyses_are_left(store: Store, works: list[Work]) -> None:
    work = works[0]
    with beating(store, [Work(work.trial, "done", work.parts[3:])]) as beats:
        beats(Event("started", work.trial.id))
        assert beats.notes()[work.trial.id]["stages"] == ["evaluate"]
        assert beats.notes()[work.trial.id]["state"] == "waiting"
        beats(Event("placed", work.trial.id, "evaluate"))
        assert beats.notes()[work.trial.id]["state"] == "running"


def test_a_replay_is_marked_and_its_end_is_known(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    trial = works[0].trial.id
    with beating(store, [Work(works[0].trial, "replay", works[0].parts, again=1)]) as beats:
        beats(Event("started", trial))
        beats(Event("epoch", trial, "train", epoch=0))
        beats(Event("epoch", trial, "train", epoch=1, metrics={"loss": 0.5}, seconds=1.5))
        note = beats.notes()[trial]
        assert (note["replays"], note["epochs"], note["stages"]) == (True, 1, ["train"])
        assert "replayed" not in beats._note_of_run()
        beats(Event("trained", trial, "train", seconds=9.0))
        wait_until(lambda: [run.get("replayed") for run in heartbeats.read(store.files)[1]] == [{trial: 1.5}])
        assert beats.notes()[trial]["stages"] == ["rewind"]


def test_a_trial_that_has_ended_is_not_at_work_any_more(
    store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    first, second = (work.trial.id for work in works)
    with beating(store, works) as beats:
        for trial in (first, second):
            beats(Event("started", trial))
        wait_until(lambda: set(heartbeats.read(store.files)[0]) == {first, second})
        beats(Event("finished", first))
        wait_until(lambda: set(heartbeats.read(store.files)[0]) == {second})


def test_what_is_written(works: list[Work], beats: Heartbeats, store: Store, tmp_path: Path) -> None:
    """The run from its first moment, its prices once they are known, a trial while it is at work; nothing at the end."""
    first, second = works

    def run() -> list[dict[str, Any]]:
        return heartbeats.read(store.files)[1]

    wait_until(run)
    (told,) = run()
    assert (told["run"], told["sweep"], told["state"], told["host"]) == (beats.run, "tiny@0123abcd", "starting", beats._host)
    assert heartbeats.read_plan(store.files, beats.run) is None
    plan = priced(works, tmp_path)
    beats.planned(plan)
    wait_until(lambda: run()[0]["state"] == "running")
    record = heartbeats.read_plan(store.files, beats.run)
    assert record is not None
    written = PricedPlan.from_json(record)
    assert written.slots == plan.slots
    assert [(t.trial, t.train, t.epochs) for t in written.trials] == [(t.trial, t.train, t.epochs) for t in plan.trials]
    beats(Event("started", first.trial.id))
    beats(Event("started", second.trial.id))
    wait_until(lambda: set(heartbeats.read(store.files)[0]) == {first.trial.id, second.trial.id})
    assert {r["run"] for r in heartbeats.read(store.files)[0].values()} == {beats.run}
    beats(Event("unfinished", second.trial.id))
    assert set(beats.notes()) == {first.trial.id}
    beats.__exit__(None, None, None)
    assert store.files.listing(layout.HEARTBEATS) == {}


def test_news_are_written_at_once(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    trial = works[0].trial.id
    with beating(store, works) as beats:

        def written() -> tuple[Any, Any]:
            note = heartbeats.read(store.files)[0].get(trial, {})
            return note.get("stages"), note.get("state")

        beats(Event("started", trial))
        wait_until(lambda: written() == (["train"], "waiting"))
        beats(Event("placed", trial, "train", host="there"))
        wait_until(lambda: written() == (["train"], "starting"))
        beats(Event("trained", trial, "train", seconds=3.0))
        wait_until(lambda: written() == (["rewind"], "running"))


def test_without_news_nothing_is_written(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the next heartbeat is due: every look would be a request to the storage."""
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.005)
    written: list[str] = []
    put = Files.put
    monkeypatch.setattr(Files, "put", lambda files, path, content: (written.append(path), put(files, path, content)))
    with beating(store, works) as beats:
        beats(Event("started", works[0].trial.id))
        wait_until(lambda: works[0].trial.id in heartbeats.read(store.files)[0])
        wait_until(lambda: len(written) >= 3)
        time.sleep(0.1)  # some twenty looks
        assert len(written) == 3  # of the run, of the trial, and its lease


def test_a_store_that_is_gone_for_a_moment(
    store: Store, works: list[Work], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is raised, and what could not be written is written at the next look."""
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    with beating(store, works) as beats:
        with monkeypatch.context() as broken:

            def put(files: Files, path: str, content: bytes) -> None:
                raise StoreError("gone")

            broken.setattr(Files, "put", put)
            beats.planned(priced(works, tmp_path))
            beats(Event("started", works[0].trial.id))
            time.sleep(0.1)
        wait_until(lambda: works[0].trial.id in heartbeats.read(store.files)[0])
        assert heartbeats.read_plan(store.files, beats.run) is None  # status has counts and no time


def test_an_order_to_stop(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for with every heartbeat of the run and no more often, heard once, and removed at the end."""
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.005)
    looks: list[str] = []
    find = stops.find
    monkeypatch.setattr(stops, "find", lambda files, run: (looks.append(run), find(files, run))[1])
    told: list[str] = []
    run, other = new_run(), new_run()
    stops.give(store.files, other)
    with Heartbeats(store, works, "tiny@0123abcd", run, told.append) as beats:
        wait_until(lambda: looks)
        stops.give(store.files, run)
        time.sleep(0.1)  # some twenty looks at the notes
        assert (looks, told) == ([run], [])
        monkeypatch.setattr(pulse, "SECONDS", 0.0)
        wait_until(lambda: told)
        wait_until(lambda: [r["state"] for r in heartbeats.read(store.files)[1]] == ["stopping"])
        seen = len(looks)
        time.sleep(0.05)
        assert (len(looks), told) == (seen, [stops.read(store.files)[run].host])
        beats.planned(priced(works, Path(store.uri)))  # the order came while the work was priced
        assert beats._note_of_run()["state"] == "stopping"
    assert list(stops.read(store.files)) == [other]


def test_a_signal_is_an_order_too(works: list[Work], beats: Heartbeats, store: Store) -> None:
    with beats._lock:  # the handler may come while the same thread holds it
        beats.stopping()
    wait_until(lambda: [run["state"] for run in heartbeats.read(store.files)[1]] == ["stopping"])


def test_a_run_in_this_process(works: list[Work], beats: Heartbeats, store: Store, tmp_path: Path) -> None:
    """Of a training: the seconds of its epochs are those of its commit. At the end nothing is at work."""
    told: dict[str, float] = {}

    def listen(event: Event) -> None:
        beats(event)
        if event.kind == "trained":
            told[event.trial] = beats.notes()[event.trial]["seconds"]

    assert carry_out(works, store, tmp_path, listen).failures == {}
    assert beats.notes() == {}
    commits = store.snapshot().trainings()
    assert told == {trial: pytest.approx(commit.seconds) for trial, commit in commits.items()}


def test_a_trial_that_another_driver_has_taken_over(store: Store, works: list[Work], beats: Heartbeats) -> None:
    """Its lease is not renewed any more: else both would wait for each other."""
    trial, other = works[0].trial.id, Holder("20261129-120000-bbbbbb", "elsewhere")
    beats(Event("started", trial))
    wait_until(lambda: leases.held(store.files, trial) == beats.holder)
    beats(Event("elsewhere", trial, host="elsewhere"))
    assert beats.notes() == {}
    wait_until(lambda: leases.held(store.files, trial) is None)
    leases.take(store.files, trial, other)
    time.sleep(0.3)  # some looks
    assert leases.held(store.files, trial) == other


def test_one_part_waits_for_the_storage_while_another_gets_on(works: list[Work], beats: Heartbeats) -> None:
    """status says that it waits, and since when, until no process does."""
    trial = works[0].trial.id
    beats(Event("placed", trial, "rewind"))
    beats(Event("waiting", trial, error="the disk is full"))
    since = beats.notes()[trial]["news"]
    for event in (part(works[0], 0, 1.0), Event("gave_up", trial, error="the disk is full")):
        beats(event)
        note = beats.notes()[trial]
        assert (note["state"], note["fault"], note["news"]) == ("storage", "the disk is full", since)
    beats(Event("waiting", trial))
    assert (beats.notes()[trial]["state"], beats.notes()[trial]["fault"]) == ("running", "")


def test_a_later_round(store: Store, works: list[Work], beats: Heartbeats, tmp_path: Path) -> None:
    """Another driver has done the training and most parts meanwhile. What is left is what this round has to do."""
    work = works[0]
    left = Work(work.trial, "done", work.parts[3:])
    beats.planned(priced([left], tmp_path))
    beats(Event("started", work.trial.id))
    assert beats.notes()[work.trial.id]["stages"] == ["evaluate"]


def test_a_storage_that_is_away_at_the_end_is_asked_once(
    store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a server that hangs each request takes minutes. The launch would say how it ended only after all of them."""
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    asked: list[str] = []
    with beating(store, works) as beats:
        for work in works:
            beats(Event("started", work.trial.id))
        wait_until(lambda: all(leases.held(store.files, work.trial.id) for work in works))

        def away(files: Files, path: str, *_: object) -> None:
            asked.append(path)
            raise StorageError("the storage is away")

        for name in ("_infos", "info", "get", "put", "delete"):
            monkeypatch.setattr(Files, name, away)
        beats(Event("finished", works[0].trial.id))
        beats._stop.set()
        beats._thread.join()
        asked.clear()
        beats.close()
        assert len(asked) == 1
        monkeypatch.undo()
