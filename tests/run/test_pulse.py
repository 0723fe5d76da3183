"""What a run tells other shells of itself: the stages that each trial is at, and sums by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memloc.run.events import Event
from memloc.run.pending import Work, pending
from memloc.run.pulse import Heartbeats
from memloc.store import Store, layout, records
from tests.conftest import TINY, carry_out
from tests.run.programs import wait_until
from tests.run.test_plan import plan_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture
def works(tmp_path: Path, store: Store) -> list[Work]:
    return pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")


@contextmanager
def beating(store: Store, works: list[Work]) -> Iterator[Heartbeats]:
    made = Heartbeats(store, works)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def beats(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> Iterator[Heartbeats]:
    monkeypatch.setattr(pulse, "SECONDS", 0.05)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    with beating(store, works) as made:
        yield made


def part(work: Work, nth: int, seconds: float) -> Event:
    analysis, part_id, _ = work.parts[nth]
    return Event("part", work.trial.id, analysis.stage, part_id=part_id, seconds=seconds)


def test_the_stages_that_a_trial_is_at(works: list[Work], beats: Heartbeats) -> None:
    """rewind has three parts, evaluate one; the tasks run side by side and end in any order."""
    work, trial = works[0], works[0].trial.id
    assert [a.stage for a, _, _ in work.parts] == ["rewind", "rewind", "rewind", "evaluate"]
    steps = [
        (Event("started", trial), ["train"]),
        (Event("epoch", trial, "train", epoch=1), ["train"]),
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


def test_what_the_run_has_done_stands_in_every_heartbeat(works: list[Work], beats: Heartbeats, store: Store) -> None:
    first, second = works
    begun = time.monotonic()
    beats(Event("started", first.trial.id))
    beats(Event("started", second.trial.id))
    beats(Event("trained", first.trial.id, "train", seconds=3.0))
    beats(part(first, 0, 0.5))
    beats(part(first, 1, 0.25))
    beats(part(first, 3, 0.0))  # it was there already
    sums = {"train": {"parts": 1, "seconds": 3.0}, "rewind": {"parts": 2, "seconds": 0.75}}
    assert [note["finished"] for note in beats.notes().values()] == [sums, sums]
    wait_until(lambda: [r["finished"] for r in records.read_heartbeats(store.files).values()] == [sums, sums], 30)
    written = records.read_heartbeats(store.files)
    assert set(written) == {first.trial.id, second.trial.id}
    assert {r["run"] for r in written.values()} == {beats.run}
    assert all(0 < r["elapsed"] <= time.monotonic() - begun for r in written.values())
    beats(Event("drained", second.trial.id))
    assert set(beats.notes()) == {first.trial.id}
    beats.close()
    assert store.files.listing(layout.HEARTBEATS) == {}


def test_news_are_written_at_once(store: Store, works: list[Work], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "SECONDS", 1e6)
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 0.01)
    trial = works[0].trial.id
    with beating(store, works) as beats:

        def written() -> list[str]:
            return records.read_heartbeats(store.files).get(trial, {"stages": []})["stages"]  # type: ignore[no-any-return]

        beats(Event("started", trial))
        wait_until(lambda: written() == ["train"], 30)
        beats(Event("trained", trial, "train", seconds=3.0))
        wait_until(lambda: written() == ["rewind"], 30)


def test_a_run_in_this_process(works: list[Work], beats: Heartbeats, store: Store, tmp_path: Path) -> None:
    """The sums are those of the commits' parts, and at the end nothing is at work."""
    told: list[dict[str, dict[str, float]]] = []

    def listen(event: Event) -> None:
        beats(event)
        told.extend(note["finished"] for note in beats.notes().values())

    assert carry_out(works, store, tmp_path, listen).failures == {}
    assert beats.notes() == {}
    assert {stage: sums["parts"] for stage, sums in told[-1].items()} == {"train": 2, "rewind": 3, "evaluate": 2}
    commits = store.snapshot().commits.values()
    for stage in ("rewind", "evaluate"):
        assert told[-1][stage]["seconds"] == pytest.approx(sum(c.seconds for c in commits if c.stage == stage))
