"""Each kind of quantity over trainings, with the interval over examples that belongs to it.

Repeats within a training are averaged first (`training_table`). Tables are float64[k, n]: k trainings, n distinct
(data_seed, example), NaN where a training does not have the example or has no value for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from memloc.statistics.influences import of_aucs, of_differences, of_log_ratios, of_means, standard_error
from memloc.statistics.interval import Bools, Floats, Interval, Labels
from memloc.statistics.parametric import wilson_limits
from memloc.statistics.scales import AREA, LOG, REAL, SHARE, Scale
from memloc.statistics.trainings import PRINTED, OverTrainings, Spread

Limits: TypeAlias = Callable[[float], tuple[float, float] | None]


class TrainingTable(NamedTuple):
    """Values by training and example. rows: int64[n], a row of each example, from which its labels can be read."""

    values: Floats
    rows: npt.NDArray[np.int64]


def training_table(values: Floats, trainings: Labels, examples: Labels) -> TrainingTable:
    """Rows of (training, example, repeat) as a table; repeats of an example in a training are averaged.

    Args:
        values: float64[rows]; NaN where there is none.
        trainings: [rows], sortable.
        examples: [rows] or [rows, columns], for example (data_seed, example).

    Returns:
        Trainings and examples in sorted order. NaN where all repeats are.
    """
    names, training = np.unique(trainings, return_inverse=True)
    units, rows, example = np.unique(examples, return_index=True, return_inverse=True, axis=0)
    cells = training.reshape(-1) * len(units) + example.reshape(-1)
    return TrainingTable(cell_means(values, cells, (len(names), len(units))), rows)


def cell_means(values: Floats, cells: Labels, shape: tuple[int, int]) -> Floats:
    """float64[shape]: the mean of the values of each cell, NaN where there is none.

    cells: int64[rows], the cell of each value; cells are numbered row by row.
    """
    there, size = ~np.isnan(values), shape[0] * shape[1]
    sums, counts = (np.bincount(cells[there], w, minlength=size) for w in (values[there], None))
    means: Floats = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0).reshape(shape)
    return means


def mean_of_trainings(each: Sequence[float], scale: Scale = REAL) -> OverTrainings:
    """A quantity that no examples are sampled for: Student's interval, on `scale`. LOG: the geometric mean of ratios."""
    return OverTrainings(float(scale.inverse(np.mean(scale.forward(np.array(each))))), tuple(map(float, each)), scale=scale)


def accuracy(shares: Sequence[float], n: int, scale: Scale = SHARE) -> OverTrainings:
    """The mean share over trainings, with Wilson's interval.

    Args:
        shares: each training's.
        n: how many distinct (data_seed, example) they are of, in all trainings together; at least 1.
        scale: SHARE; or LOGIT, which takes the same distances on the logit scale, unless a training is at 0 or 1.
    """
    if n < 1:
        raise ValueError(f"needs at least one example, not {n}")
    value = float(np.mean(shares))
    scale = scale if scale.finite(shares, value) else SHARE
    return OverTrainings(value, tuple(map(float, shares)), partial(_wilson, value, n), scale)


def share(values: Sequence[float], n: int | None) -> OverTrainings:
    """As `accuracy`. n None or 0: it is not known which examples there are, and the interval is of the trainings alone."""
    return accuracy(values, n) if n else mean_of_trainings(values, SHARE)


def share_below(table: Floats, limit: float) -> OverTrainings:
    """The share of examples whose mean over trainings is below a limit, with Wilson's interval.

    Means come first, so an example counts once. A training's own value is the share by its own values.

    Args:
        table: float64[k, n]; every training has an example, and every example a training.
        limit: in the unit of the values.
    """
    there = ~np.isnan(table)
    below = float((np.nanmean(table, axis=0) < limit).mean())
    each = ((table < limit) & there).sum(axis=1) / there.sum(axis=1)
    return OverTrainings(below, tuple(each.tolist()), partial(_wilson, below, table.shape[1]), SHARE)


def mean_over_examples(table: Floats) -> OverTrainings | None:
    """The mean over trainings of the mean over examples. None where a training has no value."""
    return _from_influences(*of_means(table), REAL)


def difference_of_means(table: Floats, above: Bools) -> OverTrainings | None:
    """The mean of the examples `above` (bool[n]) less that of the others. None where a training has no value of a set."""
    return _from_influences(*of_differences(table, above), REAL)


def ratio_of_means(table: Floats, above: Bools) -> OverTrainings | None:
    """mean(examples above) / mean(others): the geometric mean over trainings, intervals on the log scale.

    Args:
        table: float64[k, n], not negative; mean counts of neurons.
        above: bool[n].

    Returns:
        None where a mean of a training is 0, or does not exist.
    """
    return _from_influences(*of_log_ratios(table, above), LOG)


def mean_auc(table: Floats, positive: Bools, scale: Scale = AREA) -> OverTrainings | None:
    """The mean of the trainings' AUCs, with DeLong's interval. None where a class is empty in a training.

    Args:
        table: float64[k, n], scores.
        positive: bool[n].
        scale: AREA; or PROBIT, which takes the same distances on the probit scale, unless a training's AUC is 0 or 1.
    """
    return _from_influences(*of_aucs(table, positive), scale)


def mean_of_aucs(auc: Floats, limits: tuple[Floats, Floats], samples: Labels) -> OverTrainings:
    """The mean of trainings' AUCs, of which DeLong's intervals alone are known.

    Args:
        auc: float64[k].
        limits: DeLong's 95 % intervals, (float64[k], float64[k]), perhaps NaN. One end may be clipped.
        samples: [k]. Trainings of one sample rank the same examples: their errors are taken as equal and do not average out.
    """
    errors = np.maximum(auc - limits[0], limits[1] - auc) / ndtri((1 + PRINTED) / 2)
    _, sample = np.unique(samples, return_inverse=True)
    value, error = float(auc.mean()), float(np.linalg.norm(np.bincount(sample, errors))) / len(auc)
    return OverTrainings(value, tuple(auc.tolist()), partial(_normal, value, error, REAL), AREA)


def auc_of_means(table: Floats, positive: Bools, scale: Scale = AREA) -> OverTrainings | None:
    """The AUC of the examples' scores, averaged over trainings, with DeLong's interval.

    The trainings' own values, and their standard deviation, are those of the single trainings' AUCs: averaged scores are
    one ranking, which shows no spread. An AUC of averaged scores grows with the number of trainings.
    """
    there = ~np.isnan(table)
    has = there.any(axis=0)
    means = np.where(there, table, 0.0)[:, has].sum(axis=0) / there[:, has].sum(axis=0)
    averaged = _from_influences(*of_aucs(means[None], positive[has]), scale)
    singles = _from_influences(*of_aucs(table, positive), scale)
    if averaged is None or singles is None:
        return None
    both = scale if averaged.scale is singles.scale else AREA
    return OverTrainings(averaged.value, singles.each, averaged.examples, both)


def difference(one: OverTrainings, other: OverTrainings) -> OverTrainings:
    """one − other in the same trainings, for two quantities on the scale as it is, such as accuracies.

    The interval over examples is Newcombe's (1998): the squares of the distances of the two intervals add up, as for
    independent examples. It is too wide for the same examples that agree in both. If one of them has no interval over
    examples, neither has the difference.
    """
    each = tuple(a - b for a, b in zip(one.each, other.each, strict=True))
    limits = partial(_newcombe, one, other) if one.examples and other.examples else None
    return OverTrainings(one.value - other.value, each, limits)


def scaled(quantity: OverTrainings, factor: float) -> OverTrainings:
    """factor · quantity, on the scale as it is; factor > 0."""
    each, limits = tuple(factor * v for v in quantity.each), quantity.examples
    return OverTrainings(factor * quantity.value, each, limits and partial(_scaled, limits, factor))


def complement(quantity: OverTrainings) -> OverTrainings:
    """1 − quantity, for a share, with its interval mirrored."""
    limits = quantity.examples and partial(_mirrored, quantity.examples)
    return replace(quantity, value=1 - quantity.value, each=tuple(1 - v for v in quantity.each), examples=limits)


def share_of_groups(groups: Sequence[OverTrainings], least: float) -> OverTrainings:
    """The share of groups whose quantity is at least `least` (L1, R1). Groups are fixed, not sampled.

    The interval is [#{lo_g ≥ least}/G, #{hi_g ≥ least}/G], from the groups' own intervals at the same level. A
    training's own value is its share of groups.

    Args:
        groups: of the same trainings in the same order; with intervals.
        least: in the unit of the quantity.
    """
    each = np.mean([np.array(g.each) >= least for g in groups], axis=0)
    value = float(np.mean([g.value >= least for g in groups]))
    none = Spread(0.0, 1)  # the groups' intervals have the trainings' spread in them already
    return OverTrainings(value, tuple(each.tolist()), partial(_of_groups, tuple(groups), least), SHARE, none)


def _wilson(share: float, n: int, level: float) -> tuple[float, float]:
    lo, hi = wilson_limits(np.array(share), n, level)
    return float(lo), float(hi)


def _newcombe(one: OverTrainings, other: OverTrainings, level: float) -> tuple[float, float] | None:
    a, b = (quantity.examples and quantity.examples(level) for quantity in (one, other))
    if not a or not b:
        return None
    value = one.value - other.value
    below, above = np.hypot(one.value - a[0], b[1] - other.value), np.hypot(a[1] - one.value, other.value - b[0])
    return float(value - below), float(value + above)


def _scaled(limits: Limits, factor: float, level: float) -> tuple[float, float] | None:
    found = limits(level)
    return found and (factor * found[0], factor * found[1])


def _mirrored(limits: Limits, level: float) -> tuple[float, float] | None:
    found = limits(level)
    return found and (1 - found[1], 1 - found[0])


def _of_groups(groups: tuple[OverTrainings, ...], least: float, level: float) -> tuple[float, float] | None:
    intervals: list[Interval] = [group.at(level) for group in groups]
    ends = [(lo >= least, hi >= least) for _, lo, hi in intervals if lo is not None and hi is not None]
    if len(ends) < len(groups):
        return None
    lo, hi = np.mean(ends, axis=0)
    return float(lo), float(hi)


def _normal(value: float, error: float, scale: Scale, level: float) -> tuple[float, float] | None:
    """± z standard errors; `value` in its own unit, `error` on the scale."""
    if np.isnan(error):
        return None
    half = float(ndtri((1 + level) / 2)) * error
    lo, hi = np.clip(scale.inverse(scale.forward(value) + np.array([-half, half])), scale.lo, scale.hi)
    return float(lo), float(hi)


def _from_influences(each: Floats, influences: Floats, scale: Scale) -> OverTrainings | None:
    """each: float64[k]; influences: float64[k, n]. On the log scale both are of logarithms, else in the quantity's unit."""
    if not np.isfinite(each).all():
        return None
    mean, error = float(each.mean()), float(standard_error(influences))
    if scale is LOG:
        value, each = float(np.exp(mean)), np.exp(each)
    else:
        scale = scale if scale.finite(each, mean) else AREA
        value, error = mean, error * float(scale.slope(mean))
    return OverTrainings(value, tuple(each.tolist()), partial(_normal, value, error, scale), scale)
