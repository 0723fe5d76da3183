"""What seeds do to a simulated quantity, and the intervals of many simulations at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.special import ndtri

from memloc.statistics import Floats
from memloc.statistics.influences import Influences, standard_error
from memloc.statistics.scales import Scale
from memloc.statistics.trainings import Limits, combined_limits, pooled_variances, student_half

Generator: TypeAlias = np.random.Generator
Shape: TypeAlias = tuple[int, int, int]  # simulations, cells of a family, trainings

LEVEL = 0.95
NORMAL = float(ndtri((1 + LEVEL) / 2))
GRID = ndtri((np.arange(20_000) + 0.5) / 20_000)  # equally likely seeds, for expected values


@dataclass(frozen=True)
class Effect:
    """Normal effects of seeds. unit: standard errors over examples, or units of the scale for pooling."""

    size: float
    unit: Literal["standard errors", "transformed scale"]

    def applied(self, value: float, error: float, scale: Scale, normal: Floats) -> Floats:
        """The quantity in trainings whose seeds drew `normal`. error: the standard error over examples, on `scale`."""
        moved = self.size * normal
        if self.unit == "standard errors":
            raw: Floats = np.clip(scale.inverse(scale.forward(value) + error * moved), scale.lo, scale.hi)
            return raw
        by = scale.pooled_on or scale
        transformed: Floats = by.inverse(by.forward(value) + moved)
        return transformed

    def expected(self, value: float, error: float, scale: Scale) -> float:
        """The mean over seeds of a quantity that is not a ratio."""
        return float(self.applied(value, error, scale, GRID).mean())


EFFECTS = (
    *(Effect(size, "standard errors") for size in (0.0, 0.3, 0.6, 1.0)),
    *(Effect(size, "transformed scale") for size in (0.3, 1.0)),
)


class Drawn(NamedTuple):
    """Simulated trainings. each: float64[..., cells, k]; value: float64[..., cells]; examples: limits of that shape.

    All are in the quantity's unit.
    """

    each: Floats
    value: Floats
    examples: Limits


@dataclass(frozen=True)
class Simulation(ABC):
    """One estimator in one setting.

    scale: on which the interval is formed. transforms: whether it can be formed on the scale for pooling too. pools:
    whether a family of cells of two trainings is simulated too.
    """

    runs: ClassVar[int] = 20_000
    transforms: ClassVar[bool] = False
    pools: ClassVar[bool] = False
    apart: ClassVar[bool] = True  # whether trainings are simulated without a family

    @property
    @abstractmethod
    def name(self) -> tuple[str, str]:
        """(estimator, setting)."""

    @abstractmethod
    def truth(self, effect: Effect, k: int) -> float:
        """What an interval should hold."""

    @abstractmethod
    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        """float64[simulations, cells], twice: the intervals."""


How: TypeAlias = Literal["own", "pooled", "transformed"]


def limits_of(drawn: Drawn, scale: Scale, how: How) -> Limits:
    """The intervals as `memloc.statistics` forms them. how: whose standard deviation, and on which scale."""
    k = drawn.each.shape[-1]
    deviations = np.std(scale.forward(drawn.each), axis=-1, ddof=1)
    own = combined_limits(drawn.value, drawn.examples, student_half(deviations, k - 1, k, LEVEL), scale)
    if how == "own":
        return own
    by = scale.pooled_on or scale
    transformed = by.forward(drawn.each)
    inside = np.isfinite(transformed).all(axis=-1)
    variances = np.var(np.where(inside[..., None], transformed, 0.0), axis=-1, ddof=1)
    centred = np.isfinite(by.forward(drawn.value))  # an AUC of mean scores may be 1 where no training's is
    takes = inside & centred
    freedom = np.full(inside.shape, k - 1)
    if how == "pooled":
        together, takes = pooled_variances(variances, inside * (k - 1.0))
        takes &= centred
        variances = np.broadcast_to(together[..., None], inside.shape)
        freedom = np.broadcast_to(np.maximum(inside.sum(axis=-1, keepdims=True) * (k - 1), 1), inside.shape)
    half = student_half(np.sqrt(variances), freedom, k, LEVEL)
    value, lo, hi = (np.where(takes, x, by.inverse(0.0)) for x in (drawn.value, *drawn.examples))  # the rest keep `own`
    new = combined_limits(value, (lo, hi), half, by)
    return np.where(takes, new[0], own[0]), np.where(takes, new[1], own[1])


def by_influences(influences: Influences, scale: Scale) -> Drawn:
    """Trainings whose interval over examples is ± z standard errors. On the log scale influences are of logarithms."""
    each, error = influences[0], standard_error(influences[1])
    value = each.mean(axis=-1)
    if scale.lo < 0 or np.isinf(scale.hi):
        ends = [scale.inverse(value + side * NORMAL * error) for side in (-1, 1)]
        return Drawn(scale.inverse(each), scale.inverse(value), (ends[0], ends[1]))
    inside = np.isfinite(scale.forward(value))
    centre = scale.forward(np.where(inside, value, 0.5))
    half = np.where(inside, NORMAL * error * scale.slope(np.where(inside, value, 0.5)), 0.0)
    lo, hi = (np.where(inside, np.clip(scale.inverse(centre + side * half), 0, 1), value) for side in (-1, 1))
    return Drawn(each, value, (lo, hi))
