"""The one clock: times left by hand, from events and from JSON; what is not known is not said."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from memloc.run.clock import Course, PricedPlan, Watch, remaining, time_left
from memloc.run.events import Event
from memloc.run.fanout import PricedPart
from memloc.run.schedule import Slots, TrialCost

# Two trials of 10 s and 5 s an epoch; of the first, two parts of 4 s that share 2 s, then one of 6 s.
PARTS = tuple(PricedPart(f"p{i}", "a", "rewind", 4.0, 2.0, 8.0) for i in range(2))
LAST = PricedPart("q", "b", "detection", 6.0, needs=("p0", "p1"))
LONG = TrialCost("long", 40.0, (PARTS, (LAST,)), epochs=4)
SHORT = TrialCost("short", 10.0, (), reached=2, epochs=4)
PLAN = PricedPlan((LONG, SHORT), Slots(1), "given")


def plain(plan: PricedPlan) -> PricedPlan:
    """What other processes read of a plan: `needs` is not written."""
    waves = [tuple(tuple(replace(part, needs=()) for part in wave) for wave in trial.waves) for trial in plan.trials]
    return replace(plan, trials=tuple(replace(t, waves=w) for t, w in zip(plan.trials, waves, strict=True)))


def events(watch: Watch, *told: Event) -> Watch:
    for event in told:
        watch(event)
    return watch


def epoch(trial: str, nth: int, seconds: float = 0.0) -> Event:
    return Event("epoch", trial, "train", epoch=nth, metrics={"loss": 1.0} if seconds else {}, seconds=seconds)


def part(part_id: str, seconds: float, share: float = 1.0) -> Event:
    return Event("part", "long", "rewind", part_id=part_id, seconds=seconds, share=share)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("slots", "count"), 10**15),
        (("slots", "count"), 10**9),
        (("slots", "count"), 0),
        (("slots", "capacity"), 1e300),
        (("slots", "capacity"), "inf"),
        (("slots", "capacity"), "nan"),
        (("trials", 0, "trainer"), 1e-300),
        (("trials", 0, "task"), 2.0),
        (("trials", 0, "train"), 1e300),
        (("trials", 0, "epochs"), 10**400),
        (("trials", 0, "train"), "inf"),
        (("trials", 0, "waves", 0, 0, "seconds"), 1e300),
    ],
)
def test_a_plan_of_impossible_numbers_is_none(place: tuple[Any, ...], value: Any) -> None:
    """Anybody who may write to a store can write such a one; a simulation of it would fill the memory."""
    assert PricedPlan.from_json(PLAN.as_json()) == plain(PLAN)
    record = json.loads(json.dumps(PLAN.as_json()))
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert PricedPlan.from_json(record) is None


def test_more_epochs_than_there_are_leave_nothing() -> None:
    """A heartbeat may say any epoch."""
    assert [trial.train for trial in remaining(PLAN, Course(epochs={"long": 10**9, "short": 10**9}))] == [0.0, 0.0]


def test_the_seconds_of_an_epoch() -> None:
    assert LONG.epoch_seconds == 10.0
    assert replace(LONG, train=3.0).epoch_seconds == 0.75
    assert SHORT.epoch_seconds == 5.0  # of the two that are left


def test_a_trial_that_ends_unfinished_is_not_waited_for() -> None:
    watch = events(Watch(PLAN), Event("placed", "long", "train"), Event("unfinished", "long"))
    assert (watch.course.ended, watch.course.given_up) == (set(), {"long"})


def test_what_has_begun_and_what_is_not_known_yet() -> None:
    watch = events(Watch(PLAN), Event("started", "long"), Event("placed", "long", "train", host="here"))
    assert not watch.begun
    events(watch, epoch("long", 0))
    assert watch.begun
    assert time_left(PLAN, watch.course) is None
    events(watch, epoch("long", 1, 15.0))  # the first one also warms up
    assert time_left(PLAN, watch.course) is None
    events(watch, epoch("long", 2, 25.0))
    # 40 s for 20: everything takes twice its price. Left are 20 + 6 + 6 of long, and 10 of short.
    assert time_left(PLAN, watch.course) == 2 * 42


def test_prices_that_are_measured_are_known_from_the_start() -> None:
    known = replace(PLAN, reliable=True)
    assert time_left(known, Course()) == 40 + 6 + 6 + 10
    watch = events(Watch(known), epoch("long", 0), epoch("long", 1, 100.0))
    assert time_left(known, watch.course) == 30 + 6 + 6 + 10  # one epoch says nothing of the pace


def test_on_two_slots_it_is_the_longer_chain() -> None:
    plan = replace(PLAN, slots=Slots(2), reliable=True)
    assert time_left(plan, Course()) == 40 + 4 + 6  # the two parts side by side, each with what it shares
    assert time_left(plan, Course(), waited=3.5) == 46.5
    assert time_left(plan, Course(), waited=99.0) is None


def test_the_pace_is_of_all_that_has_ended_by_what_it_paid() -> None:
    """Each of two parts together paid 3 of 4 s: 9 s for 6; the epochs 30 s for 20. 1.5 times the price."""
    watch = events(Watch(PLAN), epoch("long", 0), *[epoch("long", n, 7.5) for n in range(1, 5)])
    events(watch, Event("trained", "long", "train", seconds=31.0))
    assert (watch.course.seconds, watch.course.priced) == (30.0, 40.0)
    events(watch, part("p0", 4.5, 0.75), part("p1", 4.5, 0.75))
    assert (watch.course.seconds, watch.course.priced, watch.course.count) == (39.0, 46.0, 6)
    assert time_left(PLAN, watch.course) == pytest.approx((6 + 10) * 39 / 46)


def test_what_was_committed_already_says_nothing_of_the_pace() -> None:
    watch = events(Watch(PLAN), Event("trained", "long", "train"), part("p0", 0.0), part("p1", 0.0))
    assert watch.course.count == 0
    assert remaining(PLAN, watch.course)[0].waves == ((), (LAST,))


def test_a_training_that_goes_on_from_where_it_was_and_one_that_starts_over() -> None:
    """short was to go on from epoch 2. Its state turns out to be damaged: it begins at 0, and twice as much is left."""
    assert SHORT.epoch_seconds == 5
    assert remaining(PLAN, events(Watch(PLAN), epoch("short", 3, 5.0)).course)[1].train == 5
    assert remaining(PLAN, events(Watch(PLAN), epoch("short", 0)).course)[1].train == 20


def test_what_this_run_does_no_more() -> None:
    watch = events(Watch(PLAN), Event("failed", "long", "coordinator", part_id="long", error="E"))
    assert [t.trial for t in remaining(PLAN, watch.course)] == ["short"]
    watch = events(Watch(PLAN), Event("failed", "long", "rewind", part_id="p1", error="E"))
    assert remaining(PLAN, watch.course)[0].waves == (PARTS[:1], (LAST,))


def test_nothing_left_is_no_time() -> None:
    plan = replace(PLAN, reliable=True)
    assert time_left(plan, Course(given_up={"long", "short"})) is None


def test_what_has_no_price_says_nothing_of_the_pace() -> None:
    course = Course()
    course.measure(5.0, 0.0)
    assert (course.count, course.seconds) == (0, 0.0)


def test_other_processes_read_the_same_plan() -> None:
    read = PricedPlan.from_json(json.loads(json.dumps(PLAN.as_json())))
    without = replace(LONG, waves=(PARTS, (replace(LAST, needs=()),)))
    assert read == replace(PLAN, trials=(without, SHORT))
    assert [a["parts"] for a in PLAN.as_json()["trials"][0]["waves"][0]] == [["p0", "p1"]]  # the price stands there once
