"""Simulated accuracies: of the same examples in every training, the difference of two, and the share of groups above one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.coverage.effects import Drawn, Effect, Generator, How, Shape, Simulation, limits_of
from memloc.statistics import Floats
from memloc.statistics.parametric import wilson_limits
from memloc.statistics.scales import REAL, SHARE
from memloc.statistics.trainings import Limits


@dataclass(frozen=True)
class Accuracy(Simulation):
    """A share of n examples: Wilson's interval."""

    share: float
    n: int
    transforms: ClassVar[bool] = True
    pools: ClassVar[bool] = True

    @property
    def name(self) -> tuple[str, str]:
        return "accuracy", f"{self.share:g}, {self.n:,} examples"

    @property
    def error(self) -> float:
        """The standard error over examples."""
        return float(np.sqrt(self.share * (1 - self.share) / self.n))

    def truth(self, effect: Effect, k: int) -> float:
        return effect.expected(self.share, self.error, SHARE)

    def drawn(self, generator: Generator, effect: Effect, shape: Shape) -> Drawn:
        """Trainings with Wilson's intervals."""
        able = effect.applied(self.share, self.error, SHARE, generator.normal(size=shape))
        each = shares_of_the_same(generator, able, self.n)
        value = each.mean(axis=-1)
        return Drawn(each, value, wilson_limits(value, self.n, 0.95))

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        return limits_of(self.drawn(generator, effect, shape), SHARE, how)


@dataclass(frozen=True)
class Gap(Simulation):
    """The difference of the accuracies on two sets of examples, each with effects of its own: Newcombe's interval."""

    one: Accuracy
    other: Accuracy

    @property
    def name(self) -> tuple[str, str]:
        return "difference of accuracies", f"{self.one.share:g} of {self.one.n:,} − {self.other.share:g} of {self.other.n:,}"

    def truth(self, effect: Effect, k: int) -> float:
        return self.one.truth(effect, k) - self.other.truth(effect, k)

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        (a, p, (p_lo, p_hi)), (b, q, (q_lo, q_hi)) = (s.drawn(generator, effect, shape) for s in (self.one, self.other))
        value = p - q
        examples = value - np.hypot(p - p_lo, q_hi - q), value + np.hypot(p_hi - p, q - q_lo)
        return limits_of(Drawn(a - b, value, examples), REAL, how)


@dataclass(frozen=True)
class Groups(Simulation):
    """The share of groups whose accuracy is at least 0.9, from the groups' own intervals. Groups vary independently."""

    shares: tuple[float, ...]
    n: int
    where: str

    @property
    def name(self) -> tuple[str, str]:
        return "share of groups", f"{len(self.shares)} groups, {self.where}"

    @property
    def groups(self) -> list[Accuracy]:
        """Each group's accuracy."""
        return [Accuracy(share, self.n) for share in self.shares]

    def truth(self, effect: Effect, k: int) -> float:
        return float(np.mean([group.truth(effect, k) >= 0.9 for group in self.groups]))

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        each = [group.limits(generator, effect, shape, how) for group in self.groups]
        lo, hi = (np.mean([group[end] >= 0.9 for group in each], axis=0) for end in (0, 1))
        return lo, hi


def shares_of_the_same(generator: Generator, able: Floats, n: int) -> Floats:
    """The share of n examples that each training gets right: those whose difficulty, uniform, is below its ability.

    able: float64[..., k]. The shares along the last axis are of the same examples.
    """
    order = np.argsort(able, axis=-1)
    ability = np.take_along_axis(able, order, axis=-1)
    right, before = np.zeros(able.shape), np.zeros(able.shape[:-1])
    count = np.zeros(able.shape[:-1], dtype=np.int64)
    for j in range(able.shape[-1]):
        step = np.divide(ability[..., j] - before, 1 - before, out=np.zeros_like(before), where=before < 1)
        count = count + generator.binomial(n - count, np.clip(step, 0, 1))
        right[..., j], before = count, ability[..., j]
    each = np.empty_like(right)
    np.put_along_axis(each, order, right / n, axis=-1)
    return each
