"""The interval of a mean over trainings: what the examples leave open and what the seeds leave open, combined.

The trainings differ in their seeds alone. θ̂ is their mean, s their standard deviation, k their number, [e⁻, e⁺] the interval
of θ̂ over examples with these trainings fixed, t the quantile of Student's distribution with k − 1 degrees of freedom:

    [θ̂ − √((θ̂ − e⁻)² + t²s²/k), θ̂ + √((e⁺ − θ̂)² + t²s²/k)]

The squares of the two distances add up, as variances of independent errors do. Resampling whole trainings, or (training,
repeat), covers far too little where there are few of them. `python -m benchmarks.coverage` simulates both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import stdtrit

from memloc.statistics.interval import Bools, Floats, Interval
from memloc.statistics.scales import REAL, Scale

PRINTED = 0.95  # the level of the intervals that are printed
DECIDING = 0.90  # the level of those that decide: each end is then wrong in 5 of 100 cases
FACTOR = 4.0  # how far apart variances of cells may lie that are pooled

Limits: TypeAlias = tuple[Floats, Floats]
Scope: TypeAlias = Literal["networks", "this network"]


@dataclass(frozen=True)
class Spread:
    """A standard deviation of trainings, on the scale of its quantity, and its degrees of freedom."""

    deviation: float
    freedom: int


@dataclass(frozen=True)
class OverTrainings:
    """A quantity over k trainings that differ in their seeds.

    value: θ̂. each: every training's own value, in the unit of `value`. examples: level → the interval of θ̂ over examples
    with the trainings fixed; None where no examples are sampled. scale: on which the interval is formed. spread: of a family
    of cells (`pooled`); None: the standard deviation of `each`. No limits without examples and with one training, or where
    the spread over examples cannot be estimated.
    """

    value: float
    each: tuple[float, ...]
    examples: Callable[[float], tuple[float, float] | None] | None = None
    scale: Scale = REAL
    spread: Spread | None = None

    def __post_init__(self) -> None:
        if not self.each or not np.isfinite([self.value, *self.each]).all():
            raise ValueError(f"needs one finite number per training, not {self.value} of {self.each}")

    @property
    def k(self) -> int:
        """How many trainings."""
        return len(self.each)

    @property
    def scope(self) -> Scope:
        """What the interval speaks of: one training shows nothing of other seeds."""
        return "this network" if self.k == 1 else "networks"

    @property
    def printed(self) -> Interval:
        """The 95 % interval."""
        return self.at(PRINTED)

    @property
    def deciding(self) -> Interval:
        """The 90 % interval, for `decide`."""
        return self.at(DECIDING)

    def at(self, level: float) -> Interval:
        """The estimate and its interval at a level, for example 1 − 0.05/G for each of G groups."""
        limits = self.examples(level) if self.examples else (self.value, self.value)
        unknown = not self.scale.finite(self.value, [] if self.spread else self.each)  # at an end: infinite spread
        if limits is None or unknown or (self.examples is None and self.k == 1):
            return Interval(self.value, None, None)
        half = np.zeros(())
        if self.k > 1:
            spread = self.spread or Spread(float(np.std(self.scale.forward(np.array(self.each)), ddof=1)), self.k - 1)
            half = student_half(np.array(spread.deviation), spread.freedom, self.k, level)
        lo, hi = combined_limits(np.array(self.value), (np.array(limits[0]), np.array(limits[1])), half, self.scale)
        return Interval(self.value, float(lo), float(hi))


def student_half(deviation: Floats, freedom: int | Floats, k: int, level: float) -> Floats:
    """t·s/√k, half the width of Student's interval of a mean of k values. freedom: of the standard deviation s."""
    half: Floats = stdtrit(freedom, (1 + level) / 2) * deviation / np.sqrt(k)
    return half


def combined_limits(value: Floats, examples: Limits, half: Floats, scale: Scale = REAL) -> Limits:
    """The interval of the module's docstring, elementwise.

    Args:
        value: θ̂, in its own unit, and not at an end of an unbounded `scale` such as logit.
        examples: (e⁻, e⁺), in the unit of θ̂, e⁻ ≤ θ̂ ≤ e⁺.
        half: t·s/√k, on `scale`.
        scale: on which the distances are taken; the limits are in the unit of θ̂ again, and clipped to what it can be.
    """
    centre = scale.forward(value)
    below, above = (np.hypot(centre - scale.forward(limit), half) for limit in examples)
    lo, hi = (np.clip(scale.inverse(limit), scale.lo, scale.hi) for limit in (centre - below, centre + above))
    return np.minimum(lo, value), np.maximum(hi, value)  # to transform and back may cost the last bit


def pooled(family: Sequence[OverTrainings]) -> list[OverTrainings]:
    """A family of cells, of which those of two trainings take the standard deviation of the whole family.

    Two trainings leave one degree of freedom, and t is 12.7. The cells of a family (the groups of a layer study, the
    cells of a table) have Σ(k − 1). Variances are compared on the scale where they depend least on the mean: logit for
    shares, log for ratios, probit for AUCs. `pooled_variances` says which cells keep their own.

    Args:
        family: cells, all of one kind of quantity. A cell with a training at an end of the scale (an accuracy
            of 1) says nothing of the variance there, and does not count. It keeps its own spread if all
            its trainings are there.

    Returns:
        The cells in their order. Only cells of two trainings change.
    """
    if not family:
        return []
    scale, *others = {id(s): s for s in (cell.scale.pooled_on or cell.scale for cell in family)}.values()
    if others:
        raise ValueError(f"a family has one kind of quantity, not {scale.name} and {others[0].name}")
    counts = [cell.k > 1 and scale.finite(cell.each) for cell in family]
    variances, freedom = np.zeros(len(family)), np.zeros(len(family))
    for i, cell in enumerate(family):
        if counts[i]:
            variances[i], freedom[i] = np.var(scale.forward(np.array(cell.each)), ddof=1), cell.k - 1
    together, takes = pooled_variances(variances, freedom)
    spread = Spread(float(np.sqrt(together)), int(freedom.sum()))
    takes &= np.array([cell.k == 2 and scale.finite(cell.value) for cell in family])
    return [replace(cell, scale=scale, spread=spread) if t else cell for cell, t in zip(family, takes, strict=True)]


def pooled_variances(variances: Floats, freedom: Floats) -> tuple[Floats, Bools]:
    """The pooled variance Σ(k − 1)s² / Σ(k − 1) of cells, and which cells it may stand for.

    It may not stand for a cell whose own variance is more than four times the pooled one of the others: its interval would
    be too narrow. A cell of two trainings whose own variance is small takes the pooled one. Such a variance is small by
    chance more often than not, and the interval from it alone would fail in just those cases.

    Args:
        variances: float64[..., cells].
        freedom: float64[..., cells], k − 1 of each; 0 where the cell shows no variance (its variance is then 0).

    Returns:
        (float64[...], bool[..., cells]). No cell takes it where there is no other cell with a variance.
    """
    sums, all_freedom = freedom * variances, freedom.sum(axis=-1, keepdims=True)
    total = sums.sum(axis=-1, keepdims=True)
    others = np.divide(total - sums, all_freedom - freedom, out=np.zeros_like(sums), where=all_freedom > freedom)
    takes = (all_freedom > freedom) & (variances <= FACTOR * others)
    together = np.divide(total, all_freedom, out=np.zeros_like(total), where=all_freedom > 0)[..., 0]
    return together, takes
