"""The elements of a schedule: slots, priced trials, their order, and the time that no schedule can undercut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from memloc.run.fanout import PricedPart, least, together, units


@dataclass(frozen=True)
class Slots:
    """Where processes run: `count` machines or GPUs, each with `capacity` that its processes share."""

    count: int
    capacity: float = 1.0

    @property
    def total(self) -> float:
        """The capacity of all slots together."""
        return self.count * self.capacity

    def fitting(self, demand: float) -> int:
        """How many processes of this demand run at once."""
        return self.count * int(self.capacity / demand + 1e-9)


@dataclass(frozen=True)
class TrialCost:
    """The prices of one trial.

    train: seconds of its training (0: nothing to train), which goes on from epoch `reached` and ends after epoch `epochs`.
    waves: its parts, wave by wave. trainer, task: the capacity of a slot that a trainer and a task hold. replays: the
    training is committed, and trains again for lost checkpoints.
    """

    trial: str
    train: float
    waves: tuple[tuple[PricedPart, ...], ...]
    trainer: float = 1.0
    task: float = 1.0
    reached: int = 0
    epochs: int = 1
    replays: bool = False

    @property
    def epoch_seconds(self) -> float:
        """Seconds of one epoch of its training."""
        return self.train / max(1, self.epochs - self.reached)

    def work(self) -> float:
        """The least capacity · seconds: shared work of an analysis is counted once."""
        return self._work

    @cached_property
    def _work(self) -> float:  # kept, since an estimate asks again for every trial that costs the same
        return self.train * self.trainer + sum(least(wave) for wave in self.waves) * self.task

    def chain(self) -> list[tuple[str, float]]:
        """[(stage, seconds)] of work that cannot run in parallel: the training, then the longest chain of every
        wave.
        """
        return self._chain

    @cached_property
    def _chain(self) -> list[tuple[str, float]]:
        longest = [max(units(wave), key=together) for wave in self.waves if wave]
        train = [("train", self.train)] if self.train else []
        return train + [(unit[0].stage, together(unit)) for unit in longest]


@dataclass(frozen=True)
class CriticalPath:
    """The longest chain of all trials: its trial, and (stage, seconds) of its members."""

    trial: str
    stages: tuple[tuple[str, float], ...]

    @property
    def seconds(self) -> float:
        """Seconds of the whole chain."""
        return sum(seconds for _, seconds in self.stages)


def critical_path(trials: Iterable[TrialCost]) -> CriticalPath:
    """The longest chain of these trials.

    Raises:
        ValueError: there is no trial.
    """
    paths = (CriticalPath(trial.trial, tuple(trial.chain())) for trial in trials)
    return max(paths, key=lambda path: path.seconds)


def bound(trials: Sequence[TrialCost], slots: Slots) -> float:
    """Seconds that no schedule can undercut: max(critical path, work / capacity)."""
    if not trials:
        return 0.0
    return max(critical_path(trials).seconds, sum(trial.work() for trial in trials) / slots.total)


def in_order(trials: Iterable[TrialCost]) -> list[TrialCost]:
    """The order in which the driver begins trials: the longest chain first; of equal chains the most work first.

    Work that cannot run in parallel decides when the last slots fall idle: a long training that begins late ends alone. Work
    that fans out fills every gap.
    """
    return sorted(trials, key=lambda trial: (-sum(seconds for _, seconds in trial.chain()), -trial.work()))


def coordinators(trainings: int) -> int:
    """How many trials may be under way if so many can train: two more, so that no place waits for its next training."""
    return trainings + 2
