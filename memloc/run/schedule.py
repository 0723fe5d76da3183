"""How long work takes on a number of slots: a simulation of what driver, coordinators and Ray do with it.

Pure Python and quick: five thousand tasks on a thousand GPUs in a fraction of a second. The rules simulated are those of
run/ray: trials in the driver's order, as many under way as there may be coordinators; a trial's training, then its waves,
cut into tasks by run/fanout.py; no task is asked for while a trainer waits for a place, nor more than run/admission.py
allows; of what Ray was asked for, the oldest that fits is next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from memloc.run.admission import window
from memloc.run.fanout import Cost, cut, least, together


@dataclass(frozen=True)
class Slots:
    """Where processes run: `count` machines or GPUs, each with `capacity` that its processes share."""

    count: int
    capacity: float = 1.0

    @property
    def total(self) -> float:
        return self.count * self.capacity

    def fitting(self, demand: float) -> int:
        """How many processes of this demand run at once."""
        return self.count * int(self.capacity / demand + 1e-9)


@dataclass(frozen=True)
class TrialCost:
    """One trial as a schedule sees it, in seconds.

    train: of its training (0: none to do). waves: of its parts, wave by wave. trainer, task: what of a slot's capacity a
    trainer and a task hold.
    """

    trial: str
    train: float
    waves: tuple[tuple[Cost, ...], ...]
    trainer: float = 1.0
    task: float = 1.0

    def work(self) -> float:
        """Capacity · seconds, at least: what a task of all parts of an analysis would share is counted once."""
        return self.train * self.trainer + sum(least(wave) for wave in self.waves) * self.task

    def chain(self) -> list[tuple[str, float]]:
        """(stage, seconds) of what cannot be done side by side: the training, then of every wave the longest part."""
        longest = [max(wave, key=lambda part: part.seconds) for wave in self.waves if wave]
        train = [("train", self.train)] if self.train else []
        return train + [(part.stage, part.seconds) for part in longest]


@dataclass(frozen=True)
class CriticalPath:
    """The longest chain of all trials: whose, (stage, seconds) of its members, and their sum."""

    trial: str
    stages: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.stages)


def critical_path(trials: Iterable[TrialCost]) -> CriticalPath:
    """
    Raises:
        ValueError: of no trial.
    """
    paths = (CriticalPath(trial.trial, tuple(trial.chain())) for trial in trials)
    return max(paths, key=lambda path: path.seconds)


def bound(trials: Sequence[TrialCost], slots: Slots) -> float:
    """Seconds that no schedule can undercut: max(critical path, work / capacity)."""
    if not trials:
        return 0.0
    return max(critical_path(trials).seconds, sum(trial.work() for trial in trials) / slots.total)


def in_order(trials: Iterable[TrialCost]) -> list[TrialCost]:
    """The order in which the driver begins them: the longest chain first, of equal ones the most work.

    What cannot be done side by side decides when the last slots fall idle: a long training that begins late ends alone. Work
    that fans out fills every gap.
    """
    return sorted(trials, key=lambda trial: (-sum(seconds for _, seconds in trial.chain()), -trial.work()))


def coordinators(trainings: int) -> int:
    """How many trials may be under way where so many can train: two more, so that no place waits for its next training."""
    return trainings + 2


# --- simulation -------------------------------------------------------------------------------------------------------


class _Free:
    """What is free in every slot. A process goes where least is left over, as Ray packs GPUs."""

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
    waves: deque[tuple[Cost, ...]]
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
        """The next process ends; whose it was."""
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
        """What its coordinator does once a process of it has ended."""
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
        ValueError: where a process of them fits into no slot.
    """
    for trial in trials:
        if min(slots.fitting(trial.trainer), slots.fitting(trial.task)) < 1:
            raise ValueError(f"trial {trial.trial}: a process of it fits into no slot")
    return _Simulation(trials, slots).run() if trials else 0.0
