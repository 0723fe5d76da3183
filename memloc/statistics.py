"""Statistics of rankings and of means: AUC with DeLong's intervals, precision, the bootstrap. Arrays in, numbers out.

A score is float64[n], `positive` bool[n]; higher scores should be positive. A quantity that the examples do not
determine is None, never NaN: that of a ranking with a class empty, or with a score that is NaN. Intervals are of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[np.generic]

_TAIL = 0.025
_Z = float(ndtri(1 - _TAIL))
RESAMPLES = 2000


class Interval(NamedTuple):
    """An estimate and its interval; lo and hi are None where the spread cannot be estimated."""

    value: float
    lo: float | None
    hi: float | None


class Difference(NamedTuple):
    """As Interval, with the two-sided p-value of the difference being zero."""

    value: float
    lo: float | None
    hi: float | None
    p: float | None


# --- AUC --------------------------------------------------------------------------------------------------------------


def auc(scores: Floats, positive: Bools) -> float | None:
    """P(score of a positive > score of a negative) + ½ P(equal): Mann–Whitney's U / (m·n)."""
    return None if _undefined(scores, positive) else _mean_win(_placements(scores, positive)[0], positive)


def auc_interval(scores: Floats, positive: Bools) -> Interval | None:
    """AUC ± 1.96 standard errors of DeLong et al. (1988), clipped to [0, 1].

    A perfect ranking has an estimated variance of 0, hence the interval [1, 1]. With a single example in a class the
    variance cannot be estimated: lo and hi are None.
    """
    if _undefined(scores, positive):
        return None
    wins, losses = _placements(scores, positive)
    value, variance = _mean_win(wins, positive), _covariance(wins, losses, wins, losses)
    if variance is None:
        return Interval(value, None, None)
    half = _Z * math.sqrt(variance)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def auc_covariance(one: Floats, other: Floats, positive: Bools) -> float | None:
    """DeLong's covariance of the AUCs of two scores of the same examples; with `one` itself, the AUC's variance.

    Cov(V10, V10') / m + Cov(V01, V01') / n, where V10[i] is the share of the n negatives below positive i, V01[j] that
    of the m positives above negative j (ties ½), and Cov has the denominators m − 1 and n − 1.
    """
    if _undefined(one, positive) or _undefined(other, positive):
        return None
    return _covariance(*_placements(one, positive), *_placements(other, positive))


def auc_difference(one: Floats, other: Floats, positive: Bools) -> Difference | None:
    """AUC(one) − AUC(other) on the same examples, its 95 % interval, and the two-sided p of DeLong's paired test.

    The variance is that of the differences of placements, which is exactly 0 for two scores that order alike. Without
    variance p is 1 for a difference of 0 and 0 for any other. A single example in a class: lo, hi and p are None.
    """
    if _undefined(one, positive) or _undefined(other, positive):
        return None
    (a, b), (c, d) = _placements(one, positive), _placements(other, positive)
    wins, losses = a - c, b - d
    value, variance = _mean_win(wins, positive), _covariance(wins, losses, wins, losses)
    if variance is None:
        return Difference(value, None, None, None)
    error = math.sqrt(variance)
    p = 2 * float(ndtr(-abs(value) / error)) if error > 0 else float(value == 0)
    return Difference(value, value - _Z * error, value + _Z * error, p)


def _undefined(scores: Floats, positive: Bools) -> bool:
    return bool(positive.all() or not positive.any() or np.isnan(scores).any())


def _midranks(scores: Floats) -> Floats:
    """Ranks 1..n, equal scores sharing their mean rank: float64[n], multiples of ½."""
    _, which, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


def _placements(scores: Floats, positive: Bools) -> tuple[Floats, Floats]:
    """(negatives below each positive: float64[m], positives above each negative: float64[n]), ties counting ½.

    From midranks in O(n log n) (Sun & Xu 2014): the rank of a positive among all, less its rank among the positives, is
    the number of negatives below it. Multiples of ½, hence exact.
    """
    ranks = _midranks(scores)
    wins = ranks[positive] - _midranks(scores[positive])
    losses = len(wins) - (ranks[~positive] - _midranks(scores[~positive]))
    return wins, losses


def _mean_win(wins: Floats, positive: Bools) -> float:
    return float(wins.sum()) / (len(wins) * (len(positive) - len(wins)))


def _covariance(wins: Floats, losses: Floats, other_wins: Floats, other_losses: Floats) -> float | None:
    m, n = len(wins), len(losses)
    if min(m, n) < 2:
        return None
    v10 = float((wins - wins.mean()) @ (other_wins - other_wins.mean())) / (m - 1) / n**2
    v01 = float((losses - losses.mean()) @ (other_losses - other_losses.mean())) / (n - 1) / m**2
    return v10 / m + v01 / n


# --- precision --------------------------------------------------------------------------------------------------------


def average_precision(scores: Floats, positive: Bools, weights: Floats) -> float | None:
    """Σ over distinct scores, from the top, of (recall's step) · precision, every example counting with its weight."""
    from sklearn.metrics import average_precision_score  # half a second, which checking a sweep file need not wait for

    if _undefined(scores, positive):
        return None
    ranks = _midranks(scores)  # the order alone counts, and scikit-learn refuses infinite scores
    return float(average_precision_score(positive, ranks, sample_weight=weights))


def precision_at(scores: Floats, positive: Bools, weights: Floats, mass: float) -> float | None:
    """The positive share of the first `mass` of weight, from the top; of all the weight where there is less.

    The last block of equal scores that still fits in part counts with that fraction of its weight: the expected value
    over all orders within the block, an example of weight w standing for w examples of weight 1.
    """
    if mass <= 0 or _undefined(scores, positive):
        return None
    _, block = np.unique(-scores, return_inverse=True)
    weight = np.bincount(block, weights)
    hits = np.bincount(block, weights * positive)
    taken = np.clip(mass - (np.cumsum(weight) - weight), 0.0, weight)
    share = np.divide(taken, weight, out=np.zeros_like(weight), where=weight > 0)
    return min(1.0, float(share @ hits) / float(taken.sum()))


# --- bootstrap --------------------------------------------------------------------------------------------------------


def bootstrap_mean(
    values: Floats, clusters: Labels, generator: np.random.Generator, resamples: int = RESAMPLES
) -> Interval | None:
    """The mean, and the percentile interval of the means of resampled clusters.

    Args:
        values: float64[n].
        clusters: [n], which values belong together; whole clusters are drawn with replacement, as many as there are.
        generator: keyed by what this is for.

    Returns:
        None without values; lo and hi None with a single cluster.
    """
    if len(values) == 0:
        return None
    sums = _by_cluster(clusters, values, np.ones(len(values)))
    drawn = _resampled(sums, generator, resamples)
    return _percentiles(float(values.mean()), drawn[:, 0] / drawn[:, 1], sums.shape[1])


def bootstrap_ratio(
    values: Floats,
    above: Bools,
    clusters: Labels,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """mean(values[above]) / mean(values[~above]), and the percentile interval over resampled clusters.

    As `bootstrap_mean`; a cluster may hold values of both sets. None where a set is empty or the denominator 0;
    resamples that are so are left out.
    """
    sums = _by_cluster(clusters, values * above, above.astype(np.float64), values * ~above, (~above).astype(np.float64))
    whole = _ratios(sums.sum(axis=1, keepdims=True).T)
    if len(whole) == 0:
        return None
    drawn = _ratios(_resampled(sums, generator, resamples))
    return _percentiles(float(whole[0]), drawn, sums.shape[1], (1 - level) / 2)


def bootstrap_crossed(values: Floats, generator: np.random.Generator, resamples: int = RESAMPLES) -> Interval | None:
    """The mean of a table, and the percentile interval when its rows and its columns are both resampled (Owen 2007).

    For values that share something along both: counts of the same examples (columns) under the same draws (rows).

    Args:
        values: float64[rows, columns]; NaN where there is none, which counts nowhere.
        generator: keyed by what this is for.

    Returns:
        None without values; lo and hi None with a single value. One row: only columns are resampled, and the reverse.
    """
    there = ~np.isnan(values)
    if not there.any():
        return None
    filled = np.where(there, values, 0.0)
    rows, columns = (generator.multinomial(k, np.full(k, 1 / k), size=resamples) for k in values.shape)
    sums, counts = (((rows @ table) * columns).sum(axis=1) for table in (filled, there.astype(np.float64)))
    drawn = sums[counts > 0] / counts[counts > 0]
    return _percentiles(float(values[there].mean()), drawn, int(there.sum()))


def bootstrap_crossed_ratio(
    one: Floats, other: Floats, generator: np.random.Generator, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval | None:
    """mean(one) / mean(other) of two tables of the same rows and columns, resampled together as in `bootstrap_crossed`.

    None without values, or where mean(other) is 0; resamples that are so are left out.
    """
    there = ~(np.isnan(one) | np.isnan(other))
    if not there.any() or other[there].sum() == 0:
        return None
    rows, columns = (generator.multinomial(k, np.full(k, 1 / k), size=resamples) for k in one.shape)
    above, below = (((rows @ np.where(there, table, 0.0)) * columns).sum(axis=1) for table in (one, other))
    drawn = above[below > 0] / below[below > 0]
    value = float(one[there].sum() / other[there].sum())
    return _percentiles(value, drawn, int(there.sum()), (1 - level) / 2)


def bootstrap_crossed_sets(
    values: Floats,
    above: Bools,
    combine: Literal["ratio", "difference"],
    generator: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """mean over the columns `above` / mean over the others, or their difference, resampled as in `bootstrap_crossed`.

    The two sets have the same rows, drawn together, and columns of their own, drawn within each set.

    Args:
        values: float64[rows, columns]; NaN where there is none, which counts nowhere.
        above: bool[columns].
        generator: keyed by what this is for.

    Returns:
        None where a set has no values, or for a ratio to a mean of 0; resamples that are so are left out.
    """
    there = ~np.isnan(values)
    rows = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    rows = np.vstack([np.ones((1, len(values)), dtype=rows.dtype), rows])  # the first is the sample itself
    means = []
    for of in (above, ~above):
        k = int(of.sum())
        if not there[:, of].any():
            return None
        columns = np.vstack([np.ones((1, k), dtype=np.int64), generator.multinomial(k, np.full(k, 1 / k), size=resamples)])
        tables = np.where(there, values, 0.0)[:, of], there[:, of].astype(np.float64)
        sums, counts = (((rows @ table) * columns).sum(axis=1) for table in tables)
        means.append(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))
    if combine == "ratio":
        means[1][means[1] == 0] = np.nan
        drawn = means[0] / means[1]
    else:
        drawn = means[0] - means[1]
    if np.isnan(drawn[0]):
        return None
    few = min(int(above.sum()), int((~above).sum())) < 2
    return _percentiles(float(drawn[0]), drawn[1:][~np.isnan(drawn[1:])], 1 if few else int(there.sum()))


def _by_cluster(clusters: Labels, *columns: Floats) -> Floats:
    """float64[columns, clusters]: each column's sum within each cluster."""
    names, which = np.unique(clusters, return_inverse=True)
    return np.stack([np.bincount(which, column, minlength=len(names)) for column in columns])


def _resampled(sums: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """float64[resamples, columns]: the columns' sums over clusters drawn with replacement."""
    k = sums.shape[1]
    return np.stack([sums[:, generator.integers(0, k, k)].sum(axis=1) for _ in range(resamples)])


def _ratios(sums: Floats) -> Floats:
    """The ratios of means that are defined, from rows of (sum, count, sum, count)."""
    above, n_above, below, n_below = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0) & (sums[:, 2] != 0)].T
    ratios: Floats = (above / n_above) / (below / n_below)
    return ratios


def _percentiles(value: float, drawn: Floats, clusters: int, tail: float = _TAIL) -> Interval:
    if clusters < 2 or len(drawn) == 0:
        return Interval(value, None, None)
    lo, hi = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(lo), float(hi))


# --- over trainings ---------------------------------------------------------------------------------------------------


def student_interval(values: Sequence[float]) -> Interval | None:
    """The mean of independent values, one per training, ± t·s/√k with k − 1 degrees of freedom.

    Returns:
        None without values; lo and hi None with a single one.
    """
    if not len(values):
        return None
    k, mean = len(values), math.fsum(values) / len(values)
    if k < 2:
        return Interval(mean, None, None)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (k - 1))
    half = float(stdtrit(k - 1, 1 - _TAIL)) * deviation / math.sqrt(k)
    return Interval(mean, mean - half, mean + half)


def wilson_interval(share: float, n: int) -> Interval:
    """A share of n examples, and Wilson's (1927) score interval; lo and hi None for n = 0."""
    if n == 0:
        return Interval(share, None, None)
    z2 = _Z**2 / n
    centre = (share + z2 / 2) / (1 + z2)
    half = _Z * math.sqrt(share * (1 - share) / n + z2 / (4 * n)) / (1 + z2)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


# --- rank correlation -------------------------------------------------------------------------------------------------


class Correlation(NamedTuple):
    """Spearman's coefficient with its interval, and the one-sided p-value of there being no positive one."""

    interval: Interval
    p: float


def spearman_test(
    one: Floats, other: Floats, generator: np.random.Generator, permutations: int = 9999
) -> Correlation | None:
    """Spearman's rank correlation, the interval of Bonett & Wright (2000), a permutation test against no positive one.

    All pairings where there are no more than `permutations` of them, else so many drawn. None for fewer than three pairs, or
    where one side does not vary.
    """
    from scipy.stats import permutation_test

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    a, b = (r - r.mean() for r in (_midranks(one), _midranks(other)))
    scale = math.sqrt(float(a @ a) * float(b @ b))

    def statistic(x: Floats, axis: int) -> Floats:
        correlation: Floats = np.round((x * b).sum(axis=axis) / scale, 12)  # equal but for the order of adding up
        return correlation

    test = permutation_test(
        (a,), statistic, permutation_type="pairings", alternative="greater", n_resamples=permutations, rng=generator
    )
    value = float(test.statistic)
    if len(one) == 3 or abs(value) == 1:
        return Correlation(Interval(value, None, None), float(test.pvalue))
    half = _Z * math.sqrt((1 + value**2 / 2) / (len(one) - 3))
    lo, hi = (math.tanh(math.atanh(value) + sign * half) for sign in (-1, 1))
    return Correlation(Interval(value, lo, hi), float(test.pvalue))
