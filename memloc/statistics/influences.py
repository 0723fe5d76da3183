"""How much each example moves each training's value, and the standard error over examples that follows.

A table is float64[..., k, n]: k trainings, n distinct (data_seed, example), NaN where a training does not have the example.
An example's influences on all trainings are added before they are squared. So examples that the trainings share count
once, and examples of one training alone (another data_seed) are independent of those of the others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from memloc.statistics.delong import placements
from memloc.statistics.interval import Bools, Floats

Influences = tuple[Floats, Floats]  # each training's value: float64[..., k]; each example's influence: float64[..., k, n]


def standard_error(influences: Floats) -> Floats:
    """float64[...]: of the mean over the k trainings, which are fixed. influences: float64[..., k, n]."""
    error: Floats = np.sqrt(np.square(influences.mean(axis=-2)).sum(axis=-1))
    return error


def of_means(table: Floats) -> Influences:
    """The mean over examples, in each training: the jackknife's influences, which give s²/n as its squared error.

    NaN without examples, and the influences with a single one.
    """
    there = ~np.isnan(table)
    n = there.sum(axis=-1, keepdims=True).astype(np.float64)
    n[n == 0] = np.nan
    mean = np.where(there, table, 0.0).sum(axis=-1, keepdims=True) / n
    scale = np.sqrt(n * np.where(n > 1, n - 1, np.nan))
    return mean[..., 0], np.where(there, table - mean, 0.0) / scale


def of_differences(table: Floats, above: Bools) -> Influences:
    """The mean of the examples `above` (bool[n]) less that of the others, in each training."""
    return _of_both_sets(of_means, table, above)


def of_log_ratios(table: Floats, above: Bools) -> Influences:
    """log(mean of the examples `above` / mean of the others), in each training, by the jackknife.

    NaN where a mean is not positive; the influences also where a single example carries a whole mean.
    """
    return _of_both_sets(_of_log_means, table, above)


def of_aucs(table: Floats, positive: Bools) -> Influences:
    """The AUC of each training's scores, by DeLong et al. (1988): an example's influence is its placement.

    NaN where a class is empty, and the influences with a single example in a class.
    """
    there = ~np.isnan(table)
    if there.all():
        return _of_whole_aucs(table, positive)
    values, influences = np.full(table.shape[:-1], np.nan), np.zeros(table.shape)
    for at in np.ndindex(table.shape[:-1]):
        has = there[at]
        values[at], influences[at][has] = _of_whole_aucs(table[at][has], positive[has])
    return values, influences


def _of_whole_aucs(scores: Floats, positive: Bools) -> Influences:
    """As `of_aucs`, without NaN: float64[..., n]."""
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return np.full(scores.shape[:-1], np.nan), np.full(scores.shape, np.nan)
    wins, losses = placements(scores, positive)
    value = wins.sum(axis=-1, keepdims=True) / (m * n)
    influences = np.full(scores.shape, np.nan)
    if min(m, n) > 1:
        influences[..., positive] = (wins / n - value) / np.sqrt(m * (m - 1))
        influences[..., ~positive] = (losses / m - value) / np.sqrt(n * (n - 1))
    return value[..., 0], influences


def _of_log_means(table: Floats) -> Influences:
    """The logarithm of the mean; it is compared with what it is when each example is left out in turn."""
    there = ~np.isnan(table)
    n = there.sum(axis=-1, keepdims=True).astype(np.float64)
    filled = np.where(there, table, 0.0)
    total = filled.sum(axis=-1, keepdims=True)
    value, without = _log(total) - _log(n), _log(total - filled) - _log(n - 1)
    average = np.where(there, without, 0.0).sum(axis=-1, keepdims=True) / np.where(n > 0, n, np.nan)
    scale = np.sqrt(np.where(n > 1, (n - 1) / np.where(n > 0, n, 1), np.nan))
    return value[..., 0], np.where(there, (average - without) * scale, 0.0)


def _log(x: Floats) -> Floats:
    """NaN where x is not positive."""
    logarithm: Floats = np.log(np.where(x > 0, x, np.nan))
    return logarithm


def _of_both_sets(statistic: Callable[[Floats], Influences], table: Floats, above: Bools) -> Influences:
    """The statistic of the examples `above` less that of the others. The two sets share no example."""
    influences = np.empty(table.shape)
    one, influences[..., above] = statistic(table[..., above])
    other, others = statistic(table[..., ~above])
    influences[..., ~above] = -others
    return one - other, influences
