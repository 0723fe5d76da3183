"""The one clock: how long a run will still take, from the prices of the remaining work and the pace of the work done.

Progress (from the events of its own run) and `memloc status` (from the store) ask the same function. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from itertools import groupby
from typing import Any

from pydantic import TypeAdapter

from memloc.run.events import Event
from memloc.run.fanout import PricedPart
from memloc.run.schedule import Slots, TrialCost, in_order
from memloc.run.simulation import simulate

# Of a plan that somebody may have made. A simulation has every slot in memory.
MOST_SLOTS, MOST_PROCESSES = 10**5, 1e9
LONGEST = 1e12  # seconds of a price, epochs of a training
ENOUGH = 2  # so many epochs or parts must have ended before their pace counts: the first one also warms up


@dataclass(frozen=True)
class PricedPlan:
    """The work of a run: its trials in the order in which they begin, with prices in seconds, and its slots.

    basis: a phrase that says where the prices come from. reliable: they were fitted to measurements of the same work.
    """

    trials: tuple[TrialCost, ...]
    slots: Slots
    basis: str = ""
    reliable: bool = False

    def as_json(self) -> dict[str, Any]:
        """The plan without `needs`, for other processes. Neighbouring parts that cost the same are listed as one."""
        return {
            "slots": asdict(self.slots),
            "basis": self.basis,
            "reliable": self.reliable,
            "trials": [
                {f.name: getattr(t, f.name) for f in fields(t)} | {"waves": [_analyses(wave) for wave in t.waves]}
                for t in self.trials
            ],
        }

    @staticmethod
    def from_json(record: Any) -> PricedPlan | None:
        """The plan that `as_json` has written; None for anything else, as another version may have written."""
        try:
            trials = [
                {**t, "waves": [[p for a in wave for p in _parts(a)] for wave in t["waves"]]} for t in record["trials"]
            ]
            plan = _adapter().validate_python({**record, "trials": trials}, strict=False)
        except (TypeError, KeyError, AttributeError, ValueError):
            return None
        return plan if plan.is_possible() else None

    def is_possible(self) -> bool:
        """Whether every number can be a price, a count or a share, and every process fits into a slot.

        A file that says more slots than there can be would fill the memory of whoever reads it.
        """
        shares = {share for t in self.trials for share in (t.trainer, t.task)}
        fits = 0 < self.slots.count <= MOST_SLOTS and 0 < self.slots.capacity <= MOST_PROCESSES
        fits = fits and all(0 < share <= self.slots.capacity for share in shares)
        fits = fits and all(self.slots.total / share <= MOST_PROCESSES for share in shares)
        parts = [part for trial in self.trials for wave in trial.waves for part in wave]
        prices = [*(t.train for t in self.trials), *(n for p in parts for n in (p.seconds, p.shared, p.passes))]
        epochs = all(0 <= t.reached <= t.epochs < LONGEST for t in self.trials)
        return fits and epochs and all(0 <= price < LONGEST for price in prices)


@cache
def _adapter() -> TypeAdapter[PricedPlan]:
    return TypeAdapter(PricedPlan)


def _analyses(wave: Sequence[PricedPart]) -> list[dict[str, Any]]:
    """[{what parts have in common, "parts": their ids}]."""
    return [{**common, "parts": [part.id for part in parts]} for common, parts in groupby(wave, key=_without_id)]


def _without_id(part: PricedPart) -> dict[str, Any]:
    return {k: v for k, v in vars(part).items() if k not in ("id", "needs")}


def _parts(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = {k: v for k, v in analysis.items() if k != "parts"}
    return [{"id": part_id, **common} for part_id in analysis["parts"]]


@dataclass
class Course:
    """How far a run is.

    ended: parts that are committed or have failed for good; the id of a trial stands for its training. given_up: trials on
    which this run does no more work. epochs: {trial: the epoch that its training has reached}. seconds, priced: the measured
    seconds and the price of the epochs and parts that have ended. count: their number.
    """

    ended: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    epochs: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    priced: float = 0.0
    count: int = 0

    def measure(self, seconds: float, priced: float, count: int = 1) -> None:
        """Counts work of this price that has ended after so many seconds. Work without a price says nothing of the pace."""
        if priced > 0:
            self.seconds += seconds
            self.priced += priced
            self.count += count


def remaining(plan: PricedPlan, course: Course) -> list[TrialCost]:
    """The trials with their remaining work."""
    left = []
    for trial in plan.trials:
        if trial.trial in course.given_up:
            continue
        reached = min(course.epochs.get(trial.trial, trial.reached), trial.epochs)
        train = 0.0 if trial.trial in course.ended else trial.epoch_seconds * (trial.epochs - reached)
        waves = tuple(tuple(part for part in wave if part.id not in course.ended) for wave in trial.waves)
        left.append(replace(trial, train=train, waves=waves))
    return left


def time_left(plan: PricedPlan, course: Course, waited: float = 0.0) -> float | None:
    """Seconds until everything is done: the remaining prices on the slots, times measured / priced seconds so far.

    waited: seconds since the course was last known. None if nothing is left, or if the pace is unknown: too little has
    ended, and the prices were not fitted to such work.
    """
    if course.count < ENOUGH and not plan.reliable:
        return None
    pace = course.seconds / course.priced if course.count >= ENOUGH else 1.0
    left = [trial for trial in remaining(plan, course) if trial.train or any(trial.waves)]
    seconds = simulate(in_order(left), plan.slots) * pace - waited
    return seconds if 0 < seconds < math.inf else None


class Watch:
    """The course of a run by its events."""

    def __init__(self, plan: PricedPlan) -> None:
        self.plan, self.course = plan, Course()
        self._trials = {trial.trial: trial for trial in plan.trials}
        self._parts = {part.id: part for trial in plan.trials for wave in trial.waves for part in wave}
        self.begun = False  # whether any training or part has

    def __call__(self, event: Event) -> None:
        course = self.course
        self.begun = self.begun or event.kind in ("epoch", "trained", "part")
        if event.kind == "epoch":
            course.epochs[event.trial] = event.epoch
            if event.seconds:
                course.measure(event.seconds, self._trials[event.trial].epoch_seconds)
        elif event.kind == "trained":
            course.ended.add(event.trial)
        elif event.kind == "part":
            course.ended.add(event.part_id)
            if event.seconds:  # else another run had committed it
                course.measure(event.seconds, self._parts[event.part_id].seconds * event.share)
        elif event.kind == "failed":
            course.ended.add(event.part_id)
            if event.part_id == event.trial:  # its training, or the whole of it
                course.given_up.add(event.trial)
        elif event.kind in ("unfinished", "finished"):
            course.given_up.add(event.trial)
