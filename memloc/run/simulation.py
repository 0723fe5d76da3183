"""A simulation of driver, coordinators and Ray: how long work takes on a number of slots.

It is pure Python and quick: five thousand tasks on a thousand GPUs take a fraction of a second. It has the rules of
run/ray. Trials begin in the driver's order, and as many are under way as there may be coordinators. A trial has its
training, then its waves, cut into tasks by run/fanout.py. Tasks are asked for as run/admission.py allows. Of all requests to
Ray, the oldest one that fits begins next.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

from memloc.run.admission import window
from memloc.run.fanout import PricedPart, cut, together
from memloc.run.schedule import Slots, TrialCost, coordinators


class _Free:
    """The free capacity of every slot. A process goes where the least capacity is left over, as Ray packs GPUs."""

    def __init__(self, slots: Slots) -> None:
        self.left = [slots.capacity] * slots.count
        self.by_left: dict[float, set[int]] = {slots.capacity: set(range(slots.count))}

    def take(self, demand: float) -> int | None:
        """The slot that now holds the process, or None where it fits nowhere."""
        least, needed = math.inf, demand - 1e-9
        for left, slots in self.by_left.items():
            if needed <= left < least and slots:
                least = left
        if least == math.inf:
            return None
        slot = next(iter(self.by_left[least]))
        self._change(slot, -demand)
        return slot

    def give(self, slot: int, demand: float) -> None:
        self._change(slot, demand)

    def _change(self, slot: int, by: float) -> None:
        before = self.left[slot]
        left = self.left[slot] = round(before + by, 9)
        self.by_left[before].discard(slot)
        if left not in self.by_left:
            self.by_left[left] = set()
        self.by_left[left].add(slot)


@dataclass(slots=True)
class _Running:
    """A trial under way: the waves to come, seconds of the tasks that are not asked for yet, and processes asked for.

    load: of one of its tasks, as its share of all that run at once.
    """

    cost: TrialCost
    waves: deque[tuple[PricedPart, ...]]
    load: float
    place: int | None = None  # in line for tasks
    queue: deque[float] = field(default_factory=deque)
    asked: int = 0

    @property
    def larger(self) -> bool:
        return self.cost.trainer > self.cost.task


class _Request(NamedTuple):
    """A process that waits for a place, or runs."""

    trial: _Running
    seconds: float
    demand: float
    trains: bool


class _Simulation:
    def __init__(self, trials: Sequence[TrialCost], slots: Slots) -> None:
        self.slots, self.free = slots, _Free(slots)
        self.now, self.place = 0.0, 0
        self.waiting: dict[tuple[bool, float], deque[tuple[int, _Request]]] = {}  # {(trains, demand): (place in line, …)}
        self.trainers_waiting = {False: 0, True: 0}  # {holds more than a task of its trial: how many}
        self.load = 0.0  # tasks asked for, each as its share of all that run at once
        self.fanning: list[tuple[int, _Running]] = []  # a heap: trials with tasks that are not asked for yet
        self.ends: list[tuple[float, int, int, _Request]] = []
        self.cuts: dict[tuple[int, float], list[float]] = {}  # seconds of tasks, by a wave's id and a task's share
        self.to_come = iter(trials)
        for _ in range(min(len(trials), coordinators(max(slots.fitting(trial.trainer) for trial in trials)))):
            self._next_trial()

    def run(self) -> float:
        self._start_what_fits()
        while self.ends:
            self.now = self.ends[0][0]
            ended: dict[int, _Running] = {}  # each once: several processes of one may end at the same time
            while self.ends and self.ends[0][0] <= self.now:
                trial = self._end()
                ended[id(trial)] = trial
            for trial in ended.values():
                self._go_on(trial)
            self._start_what_fits()
        return self.now

    def _end(self) -> _Running:
        """Ends the next process; returns its trial."""
        _, _, slot, request = heappop(self.ends)
        self.free.give(slot, request.demand)
        request.trial.asked -= 1
        if not request.trains:
            self.load -= request.trial.load
        return request.trial

    def _next_trial(self) -> None:
        cost = next(self.to_come, None)
        if cost is None:
            return
        trial = _Running(cost, deque(wave for wave in cost.waves if wave), 1 / self.slots.fitting(cost.task))
        if cost.train:
            self._ask(_Request(trial, cost.train, cost.trainer, trains=True))
        else:
            self._go_on(trial)

    def _go_on(self, trial: _Running) -> None:
        """Does what a trial's coordinator does once a process of the trial has ended."""
        if trial.queue or trial.asked:
            return
        if trial.waves:
            trial.queue.extend(self._tasks(trial))
            trial.place = self._next_place() if trial.place is None else trial.place
            heappush(self.fanning, (trial.place, trial))
        else:
            self._next_trial()

    def _tasks(self, trial: _Running) -> list[float]:
        """Seconds of each task of its next wave."""
        wave = trial.waves.popleft()
        key = id(wave), trial.cost.task
        if key not in self.cuts:
            self.cuts[key] = [together(task) for task in cut(wave, self.slots.fitting(trial.cost.task))]
        return self.cuts[key]

    def _ask(self, request: _Request) -> deque[tuple[int, _Request]]:
        """Puts it in line, behind others of its kind; returns these."""
        request.trial.asked += 1
        if request.trains:
            self.trainers_waiting[request.trial.larger] += 1
        else:
            self.load += request.trial.load
        line = self.waiting.setdefault((request.trains, request.demand), deque())
        line.append((self._next_place(), request))
        return line

    def _next_place(self) -> int:
        self.place += 1
        return self.place

    def _start_what_fits(self) -> None:
        self._start_the_oldest()
        while self.fanning and self.load + self.fanning[0][1].load <= self._window() + 1e-9:
            _, trial = self.fanning[0]
            line = self._ask(_Request(trial, trial.queue.popleft(), trial.cost.task, False))
            if not trial.queue:
                heappop(self.fanning)
            if len(line) == 1:  # else the one before it fits nowhere either
                self._start_the_oldest()

    def _window(self) -> float:
        larger = self.trainers_waiting[True] > 0
        return window(larger or self.trainers_waiting[False] > 0, larger)

    def _start_the_oldest(self) -> None:
        lines = [line for line in self.waiting.values() if line]  # of processes that all demand the same
        while lines:
            line = lines[0] if len(lines) == 1 else min(lines, key=_first_place)
            place, request = line[0]
            slot = self.free.take(request.demand)
            if slot is not None:
                line.popleft()
            if slot is None or not line:
                lines = [other for other in lines if other is not line]
            if slot is None:
                continue
            if request.trains:
                self.trainers_waiting[request.trial.larger] -= 1
            heappush(self.ends, (self.now + request.seconds, place, slot, request))


def _first_place(line: deque[tuple[int, _Request]]) -> int:
    return line[0][0]


def simulate(trials: Sequence[TrialCost], slots: Slots) -> float:
    """Seconds until the last of the trials, begun in this order, is done.

    Raises:
        ValueError: one of their processes fits into no slot.
    """
    for trial in {id(trial): trial for trial in trials}.values():
        if min(slots.fitting(trial.trainer), slots.fitting(trial.task)) < 1:
            raise ValueError(f"trial {trial.trial}: a process of it fits into no slot")
    return _Simulation(trials, slots).run() if trials else 0.0
