"""Simulated quantities that no examples are sampled for, alone and as cells of a family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmarks.coverage.effects import Drawn, Effect, Generator, How, Shape, Simulation, limits_of
from memloc.statistics.scales import LOG
from memloc.statistics.trainings import Limits


@dataclass(frozen=True)
class Norms(Simulation):
    """A ratio of gradient norms. Its intervals do not depend on the size of the effect."""

    pools: ClassVar[bool] = True

    @property
    def name(self) -> tuple[str, str]:
        return "ratio of norms", "no examples"

    def truth(self, effect: Effect, k: int) -> float:
        return 1.0

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        each = effect.applied(1.0, 1.0, LOG, generator.normal(size=shape))
        value = np.exp(np.log(each).mean(axis=-1))
        return limits_of(Drawn(each, value, (value, value)), LOG, how)


@dataclass(frozen=True)
class Family(Norms):
    """Cells whose variances differ, or that share a part of their seeds' effects.

    factor: the largest variance over the smallest; the others lie between, in equal steps of the logarithm. shared: the
    share of the variance that is common to all cells. widest: count only the cell of the largest variance.
    """

    factor: float = 1.0
    shared: float = 0.0
    widest: bool = False
    apart: ClassVar[bool] = False

    @property
    def name(self) -> tuple[str, str]:
        if self.shared:
            return "ratio of norms", f"cells share {self.shared:.0%} of their variance"
        which = "the widest cell" if self.widest else "all cells"
        return "ratio of norms", f"variances up to {self.factor:g} times, {which}"

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        simulations, cells, k = shape
        common, own = generator.normal(size=(simulations, 1, k)), generator.normal(size=shape)
        normal = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * own
        each = effect.applied(1.0, 1.0, LOG, normal * np.geomspace(1, np.sqrt(self.factor), cells)[:, None])
        value = np.exp(np.log(each).mean(axis=-1))
        lo, hi = limits_of(Drawn(each, value, (value, value)), LOG, how)
        return (lo[:, -1:], hi[:, -1:]) if self.widest else (lo, hi)
