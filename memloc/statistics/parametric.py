"""Intervals by formula: Student's of a mean, Wilson's of a share."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import stdtrit

from memloc.statistics.interval import TAIL, Interval


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
    """A share of n examples, and Wilson's (1927) score interval, by scipy; lo and hi None for n = 0.

    Args:
        share: k / n for a whole number k, up to rounding.
        n: examples.
    """
    from scipy.stats import binomtest  # takes half a second; checking a sweep file does not need it

    if n == 0:
        return Interval(share, None, None)
    limits = binomtest(round(share * n), n).proportion_ci(confidence_level=0.95, method="wilson")
    return Interval(share, float(limits.low), float(limits.high))
