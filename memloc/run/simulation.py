"""A simulation of driver, coordinators and Ray: how long work takes on a number of slots.

It is pure Python and quick: five thousand tasks on a thousand GPUs take a fraction of a second. It has the rules of
run/ray. Trials begin in the driver's order, and as many are under way as there may be coordinators. A trial has its
training, then its waves, cut into tasks by run/fanout.py. Tasks are asked for as run/admission.py allows. Of all requests to
Ray, the oldest one that fits begins next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

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
        fitting = [left for left, slots in self.by_left.items() if slots and left >= demand - 1e-9]
        if not fitting:
            return None
        slot = next(iter(self.by_left[min(fitting)]))
        self._change(slot, -demand)
        return slot

    def give(self, slot: int, demand: float) -> None:
        self._change(slot, demand)

    def _change(self, slot: int, by: float) -> None:
        self.by_left[self.left[slot]].discard(slot)
        self.left[slot] = round(self.left[slot] + by, 9)
        self.by_left.setdefault(self.left[slot], set()).add(slot)


@dataclass
class _Running:
    """A trial under way: the waves to come, seconds of the tasks that are not asked for yet, and processes asked for."""

    cost: TrialCost
    waves: deque[tuple[PricedPart, ...]]
    place: int | None = None  # in line for tasks
    queue: deque[float] = field(default_factory=deque)
    asked: int = 0

    @property
    def larger(self) -> bool:
        return self.cost.trainer > self.cost.task


@dataclass(frozen=True)
class _Request:
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
        self.to_come = iter(trials)
        for _ in range(coordinators(max(slots.fitting(trial.trainer) for trial in trials))):
            self._next_trial()

    def run(self) -> float:
        self._start_what_fits()
        while self.ends:
            self.now = self.ends[0][0]
            ended = []
            while self.ends and self.ends[0][0] <= self.now:
                ended.append(self._end())
            for trial in ended:
                self._go_on(trial)
            self._start_what_fits()
        return self.now

    def _end(self) -> _Running:
        """Ends the next process; returns its trial."""
        _, _, slot, request = heappop(self.ends)
        self.free.give(slot, request.demand)
        request.trial.asked -= 1
        if not request.trains:
            self.load -= self._load(request.trial)
        return request.trial

    def _load(self, trial: _Running) -> float:
        return 1 / self.slots.fitting(trial.cost.task)

    def _next_trial(self) -> None:
        cost = next(self.to_come, None)
        if cost is None:
            return
        trial = _Running(cost, deque(wave for wave in cost.waves if wave))
        if cost.train:
            self._ask(_Request(trial, cost.train, cost.trainer, trains=True))
        else:
            self._go_on(trial)

    def _go_on(self, trial: _Running) -> None:
        """Does what a trial's coordinator does once a process of the trial has ended."""
        if trial.queue or trial.asked:
            return
        if trial.waves:
            tasks = cut(trial.waves.popleft(), self.slots.fitting(trial.cost.task))
            trial.queue.extend(together(task) for task in tasks)
            trial.place = self._next_place() if trial.place is None else trial.place
            heappush(self.fanning, (trial.place, trial))
        else:
            self._next_trial()

    def _ask(self, request: _Request) -> None:
        request.trial.asked += 1
        if request.trains:
            self.trainers_waiting[request.trial.larger] += 1
        else:
            self.load += self._load(request.trial)
        self.waiting.setdefault((request.trains, request.demand), deque()).append((self._next_place(), request))

    def _next_place(self) -> int:
        self.place += 1
        return self.place

    def _start_what_fits(self) -> None:
        self._start_the_oldest()
        while self.fanning and self.load + self._load(self.fanning[0][1]) <= self._window() + 1e-9:
            _, trial = self.fanning[0]
            self._ask(_Request(trial, trial.queue.popleft(), trial.cost.task, trains=False))
            if not trial.queue:
                heappop(self.fanning)
            self._start_the_oldest()

    def _window(self) -> float:
        return window(any(self.trainers_waiting.values()), self.trainers_waiting[True] > 0)

    def _start_the_oldest(self) -> None:
        full: set[tuple[bool, float]] = set()
        while heads := [(line[0][0], kind) for kind, line in self.waiting.items() if line and kind not in full]:
            place, kind = min(heads)
            slot = self.free.take(kind[1])
            if slot is None:
                full.add(kind)
                continue
            _, request = self.waiting[kind].popleft()
            if request.trains:
                self.trainers_waiting[request.trial.larger] -= 1
            heappush(self.ends, (self.now + request.seconds, place, slot, request))


def simulate(trials: Sequence[TrialCost], slots: Slots) -> float:
    """Seconds until the last of the trials, begun in this order, is done.

    Raises:
        ValueError: one of their processes fits into no slot.
    """
    for trial in trials:
        if min(slots.fitting(trial.trainer), slots.fitting(trial.task)) < 1:
            raise ValueError(f"trial {trial.trial}: a process of it fits into no slot")
    return _Simulation(trials, slots).run() if trials else 0.0
