"""Percentile intervals by resampling: whole clusters, or the rows and the columns of a table.

scipy.stats.bootstrap resamples single values. These functions resample the units that are independent.
"""

from __future__ import annotations

import numpy as np

from memloc.statistics.interval import TAIL, Bools, Floats, Interval, Labels

RESAMPLES = 2000


def bootstrap_ratio(
    values: Floats,
    above: Bools,
    clusters: Labels,
    generator: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """mean(values[above]) / mean(values[~above]), and the percentile interval over resampled clusters.

    Args:
        values: float64[n].
        above: bool[n]; a cluster may hold values of both sets.
        clusters: [n], which values belong together; whole clusters are drawn with replacement, as many as there are.
        generator: keyed by what this is for.
        level: of the interval.
        resamples: how many; those in which a set is empty or the denominator 0 are left out.

    Returns:
        None where a set is empty or the denominator 0; lo and hi None with a single cluster.
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
        resamples: how many.

    Returns:
        None without values; lo and hi None with a single value. With one row only columns are resampled; with one column
        only rows are.
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

    Args:
        one, other: float64[rows, columns]; a cell that is NaN in either counts nowhere.
        generator, level, resamples: as in `bootstrap_ratio`.

    Returns:
        None without values, or where mean(other) is 0. Resamples of this kind are left out.
    """
    there = ~(np.isnan(one) | np.isnan(other))
    if not there.any() or other[there].sum() == 0:
        return None
    rows, columns = (generator.multinomial(k, np.full(k, 1 / k), size=resamples) for k in one.shape)
    above, below = (((rows @ np.where(there, table, 0.0)) * columns).sum(axis=1) for table in (one, other))
    drawn = above[below > 0] / below[below > 0]
    value = float(one[there].sum() / other[there].sum())
    return _percentiles(value, drawn, int(there.sum()), (1 - level) / 2)


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


def _percentiles(value: float, drawn: Floats, units: int, tail: float = TAIL) -> Interval:
    """The interval of resampled values. units: how many were resampled; a single unit has no spread."""
    if units < 2 or len(drawn) == 0:
        return Interval(value, None, None)
    lo, hi = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, float(lo), float(hi))
