"""Intervals by formula: Student's of a mean, Wilson's of a share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri, stdtrit

from memloc.statistics.interval import TAIL, Floats, Interval


def student_interval(values: Sequence[float]) -> Interval | None:
    """The mean of independent values, one per training, ± t·s/√k with k − 1 degrees of freedom.

    scipy.stats.t.interval is NaN if all values are equal. Here the interval is then the value itself.

    Returns:
        In the unit of the values. None without values; lo and hi None with a single one.
    """
    if not len(values):
        return None
    k, mean = len(values), math.fsum(values) / len(values)
    if k < 2:
        return Interval(mean, None, None)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (k - 1))
    half = float(stdtrit(k - 1, 1 - TAIL)) * deviation / math.sqrt(k)
    return Interval(mean, mean - half, mean + half)


def wilson_interval(share: float, n: int) -> Interval:
    """A share of n examples, and Wilson's (1927) score interval; lo and hi None for n = 0.

    Args:
        share: k / n for a whole number k, up to rounding.
        n: examples.
    """
    if n == 0:
        return Interval(share, None, None)
    lo, hi = wilson_limits(np.array(round(share * n) / n), n, 1 - 2 * TAIL)
    return Interval(share, float(lo), float(hi))


def wilson_limits(share: Floats, n: int | Floats, level: float) -> tuple[Floats, Floats]:
    """Wilson's (1927) score interval, elementwise: the shares p with |share − p| ≤ z·√(p(1 − p)/n).

    Args:
        share: float64[...], in [0, 1]; a mean of shares is one too, and need not be a whole number of n.
        n: examples, at least 1.
        level: of the interval.
    """
    z2 = ndtri((1 + level) / 2) ** 2
    centre, half = share + z2 / (2 * n), np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2)))
    lo, hi = ((centre + side * half) / (1 + z2 / n) for side in (-1, 1))
    return np.where(share <= 0, 0.0, lo), np.where(share >= 1, 1.0, hi)  # exact at the ends, where rounding shows
