"""Spearman's rank correlation, with an interval and a permutation test; Page's test of a trend."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from memloc.statistics.interval import Floats, Interval, Z

AT_ONCE = 1_000_000  # numbers that are permuted together: all 9999 permutations of 10,000 numbers have 800 MB


class Correlation(NamedTuple):
    """Spearman's coefficient with its interval, and the one-sided p-value of there being no positive one."""

    interval: Interval
    p: float


def rank_correlation(one: Floats, other: Floats) -> float | None:
    """Spearman's coefficient; None with fewer than three pairs, or where one side does not vary."""
    return rank_correlations(one[None], other[None])[0]


def rank_correlations(one: Floats, other: Floats) -> list[float | None]:
    """The same of every row of float64[rows, n]."""
    from scipy.stats import rankdata  # takes half a second; checking a sweep file does not need it

    if one.shape[1] < 3:
        return [None] * len(one)
    a, b = (ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(side, axis=1) for side in (one, other)))
    squares = (a * a).sum(axis=1) * (b * b).sum(axis=1)
    rho = (a * b).sum(axis=1) / np.sqrt(np.where(squares == 0, np.nan, squares))
    # 0 is 0, not 1e-17, which would be above it
    return [None if s == 0 else round(float(r), 12) + 0.0 for r, s in zip(rho, squares, strict=True)]


def page_trend(rows: Floats) -> tuple[Correlation, list[float]]:
    """(the mean over rows of Spearman's coefficient with the column's number, with the p of Page's test; each row's).

    Args:
        rows: float64[rows, columns], at least one row and three columns. A row that does not vary has the coefficient 0.
            With a single row p is 1.
    """
    from scipy.stats import page_trend_test, spearmanr

    order = np.arange(rows.shape[1])
    each = [float(spearmanr(order, row).statistic) if np.ptp(row) > 0 else 0.0 for row in rows]
    p = float(page_trend_test(rows).pvalue) if len(rows) > 1 else 1.0
    return Correlation(Interval(float(np.mean(each)), None, None), p), each


def spearman_test(
    one: Floats, other: Floats, generator: np.random.Generator, permutations: int = 9999
) -> Correlation | None:
    """Spearman's rank correlation, the interval of Bonett & Wright (2000), a permutation test against no positive one.

    Args:
        one, other: float64[n], pairs.
        generator: keyed by what this is for.
        permutations: the test takes all pairings if there are at most so many, else it draws so many.

    Returns:
        None for fewer than three pairs, or where one side does not vary.
    """
    from scipy.stats import permutation_test, rankdata  # takes half a second; checking a sweep file does not need it

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    a, b = (r - r.mean() for r in (rankdata(one), rankdata(other)))
    scale = math.sqrt(float(a @ a) * float(b @ b))

    def statistic(x: Floats, axis: int) -> Floats:
        correlation: Floats = np.round((x * b).sum(axis=axis) / scale, 12)  # the order of adding up does not count
        return correlation

    options: dict[str, Any] = {"permutation_type": "pairings", "alternative": "greater", "n_resamples": permutations}
    test = permutation_test((a,), statistic, batch=max(1, AT_ONCE // len(a)), rng=generator, **options)
    value = float(test.statistic)
    if len(one) == 3 or abs(value) == 1:
        return Correlation(Interval(value, None, None), float(test.pvalue))
    half = Z * math.sqrt((1 + value**2 / 2) / (len(one) - 3))
    lo, hi = (math.tanh(math.atanh(value) + sign * half) for sign in (-1, 1))
    return Correlation(Interval(value, lo, hi), float(test.pvalue))
