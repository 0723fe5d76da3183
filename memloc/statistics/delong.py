"""Area under the ROC curve, with the intervals and the paired test of DeLong, DeLong & Clarke-Pearson (1988).

scipy and scikit-learn have the area alone, without its variance.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr

from memloc.statistics.interval import Bools, Difference, Floats, Interval, Z


def auc(scores: Floats, positive: Bools) -> float | None:
    """P(score of a positive > score of a negative) + ½ P(equal): Mann–Whitney's U / (m·n).

    Args:
        scores: float64[n], any order; infinities are allowed.
        positive: bool[n].

    Returns:
        In [0, 1]; None where a class is empty or a score is NaN.
    """
    return None if undefined(scores, positive) else _mean_win(placements(scores, positive)[0], positive)


def auc_interval(scores: Floats, positive: Bools) -> Interval | None:
    """AUC ± 1.96 standard errors of DeLong et al. (1988), clipped to [0, 1].

    A perfect ranking has an estimated variance of 0, hence the interval [1, 1]. With a single example in a class the
    variance cannot be estimated: lo and hi are None.

    Args:
        scores: float64[n].
        positive: bool[n].

    Returns:
        None where a class is empty or a score is NaN.
    """
    if undefined(scores, positive):
        return None
    wins, losses = placements(scores, positive)
    value, variance = _mean_win(wins, positive), _variance(wins, losses)
    if variance is None:
        return Interval(value, None, None)
    half = Z * math.sqrt(variance)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def auc_difference(one: Floats, other: Floats, positive: Bools) -> Difference | None:
    """AUC(one) − AUC(other) on the same examples, its 95 % interval, and the two-sided p of DeLong's paired test.

    The variance is that of the differences of placements. It is exactly 0 for two scores with the same order. Without
    variance, p is 1 for a difference of 0 and 0 for any other. With a single example in a class, lo, hi and p are None.

    Args:
        one, other: float64[n], two scores of the same examples.
        positive: bool[n].

    Returns:
        None where a class is empty or a score is NaN.
    """
    if undefined(one, positive) or undefined(other, positive):
        return None
    (a, b), (c, d) = placements(one, positive), placements(other, positive)
    wins, losses = a - c, b - d
    value, variance = _mean_win(wins, positive), _variance(wins, losses)
    if variance is None:
        return Difference(value, None, None, None)
    error = math.sqrt(variance)
    p = 2 * float(ndtr(-abs(value) / error)) if error > 0 else float(value == 0)
    return Difference(value, value - Z * error, value + Z * error, p)


def undefined(scores: Floats, positive: Bools) -> bool:
    """Whether these examples determine no ranking: a class is empty, or a score is NaN."""
    return bool(positive.all() or not positive.any() or np.isnan(scores).any())


def placements(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """(negatives below each positive: float64[..., m], positives above each negative: float64[..., n]), ties counting ½.

    From midranks in O(n log n) (Sun & Xu 2014): the rank of a positive among all, less its rank among the positives, is
    the number of negatives below it. Multiples of ½, hence exact.

    Args:
        scores: float64[..., m + n], without NaN; one ranking along the last axis.
        positive: bool[m + n].
    """
    from scipy.stats import rankdata  # takes half a second; checking a sweep file does not need it

    ranks = rankdata(scores, axis=-1)
    wins = ranks[..., positive] - rankdata(scores[..., positive], axis=-1)
    losses = wins.shape[-1] - (ranks[..., ~positive] - rankdata(scores[..., ~positive], axis=-1))
    return wins, losses


def _mean_win(wins: Floats, positive: Bools) -> float:
    return float(wins.sum()) / (len(wins) * (len(positive) - len(wins)))


def _variance(wins: Floats, losses: Floats) -> float | None:
    """DeLong's variance: Var(V10) / m + Var(V01) / n; None with a single example in a class.

    V10[i] is the share of the n negatives below positive i, V01[j] that of the m positives above negative j (ties ½).
    The two variances have the denominators m − 1 and n − 1.
    """
    m, n = len(wins), len(losses)
    if min(m, n) < 2:
        return None
    below, above = wins - wins.mean(), losses - losses.mean()
    v10, v01 = float(below @ below) / (m - 1) / n**2, float(above @ above) / (n - 1) / m**2
    return v10 / m + v01 / n
