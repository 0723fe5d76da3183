"""Intervals over trainings and the decisions on them: against formulas by hand, scipy, loops, and simulated coverage."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from benchmarks.coverage import __main__ as command
from benchmarks.coverage.effects import EFFECTS, Drawn, Effect, How, by_influences, limits_of
from benchmarks.coverage.scores import MeanCount, Ranking, TwoCounts
from benchmarks.coverage.seeds_only import Family, Norms
from benchmarks.coverage.shares import Accuracy, Gap, Groups
from memloc.seeds import stream
from memloc.statistics import Bools, Floats, Interval, auc_difference, auc_interval
from memloc.statistics.influences import of_aucs, of_log_ratios, standard_error
from memloc.statistics.parametric import wilson_limits
from memloc.statistics.quantities import (
    accuracy,
    auc_of_means,
    complement,
    difference,
    difference_of_means,
    mean_auc,
    mean_of_trainings,
    mean_over_examples,
    ratio_of_means,
    scaled,
    share,
    share_below,
    share_of_groups,
    training_table,
)
from memloc.statistics.regions import Decision, Region, decide, decide_groups
from memloc.statistics.scales import AREA, LOG, LOGIT, PROBIT, REAL, SHARE, Scale
from memloc.statistics.trainings import OverTrainings, Spread, combined_limits, pooled, pooled_variances


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.lo is not None
    assert interval.hi is not None
    return interval.lo, interval.hi


def made(quantity: OverTrainings | None) -> OverTrainings:
    assert quantity is not None
    return quantity


def by_hand(each: list[float], e: tuple[float, float], level: float) -> tuple[float, float]:
    """The formula, term by term."""
    k, mean = len(each), sum(each) / len(each)
    s = math.sqrt(sum((x - mean) ** 2 for x in each) / (k - 1))
    seeds = (stats.t.ppf((1 + level) / 2, k - 1) * s) ** 2 / k
    return mean - math.sqrt((mean - e[0]) ** 2 + seeds), mean + math.sqrt((e[1] - mean) ** 2 + seeds)


def counts(name: str, k: int = 3, m: int = 7, n: int = 9) -> tuple[Floats, Bools]:
    """Counts of m + n examples in k trainings; noisy ones need fewer."""
    generator, above = stream(0, "test counts", name), np.arange(m + n) < m
    table = 1 + generator.poisson(np.where(above, 2.0, 5.0) * generator.gamma(3, 1 / 3, m + n), size=(k, m + n))
    return table.astype(np.float64), above


# --- the interval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.9, 0.95, 1 - 0.05 / 9])
@pytest.mark.parametrize("shares", [[0.5, 0.62], [0.52, 0.6, 0.71], [0.4, 0.5, 0.6, 0.5, 0.5]])
def test_accuracy_by_hand(shares: list[float], level: float) -> None:
    wilson = stats.binomtest(round(100 * sum(shares) / len(shares)), 100).proportion_ci(level, "wilson")
    whole = [x - np.mean(shares) + round(100 * np.mean(shares)) / 100 for x in shares]  # binomtest takes whole numbers
    quantity = accuracy(whole, 100)
    assert ends(quantity.at(level)) == pytest.approx(np.clip(by_hand(whole, (wilson.low, wilson.high), level), 0, 1))
    assert quantity.value == pytest.approx(np.mean(whole))
    assert quantity.each == tuple(whole)


def test_the_levels() -> None:
    quantity = accuracy([0.5, 0.6, 0.7], 50)
    assert quantity.printed == quantity.at(0.95)
    assert quantity.deciding == quantity.at(0.9)


def test_without_examples_it_is_students() -> None:
    each = [0.3, 0.5, 1.1]
    expected = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
    assert ends(mean_of_trainings(each).printed) == pytest.approx(expected)
    logs = np.log(each)
    ratio = mean_of_trainings(each, LOG)
    assert ratio.value == pytest.approx(stats.gmean(each))
    assert ends(ratio.printed) == pytest.approx(np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))))


def test_equal_trainings_leave_the_examples_interval() -> None:
    """Not a width of 0: the examples are a sample."""
    quantity = accuracy([0.8, 0.8], 40)
    assert ends(quantity.printed) == pytest.approx(
        ends(Interval(0.8, *stats.binomtest(32, 40).proportion_ci(0.95, "wilson")))
    )
    lo, hi = ends(accuracy([1.0, 1.0, 1.0], 140).printed)
    assert (lo, hi) == (pytest.approx(140 / (140 + stats.norm.ppf(0.975) ** 2)), 1.0)


def test_one_training_speaks_of_itself() -> None:
    one, two = accuracy([0.8], 40), accuracy([0.8, 0.7], 40)
    assert (one.scope, two.scope) == ("this network", "networks")
    assert (one.k, two.k) == (1, 2)
    assert ends(one.printed) == pytest.approx(tuple(stats.binomtest(32, 40).proportion_ci(0.95, "wilson")))
    assert mean_of_trainings([0.3]).printed == (0.3, None, None)


def test_it_is_clipped() -> None:
    assert ends(accuracy([0.2, 0.9], 40).printed) == (0.0, 1.0)
    lo, hi = ends(mean_of_trainings([0.2, 0.9]).printed)
    assert lo < 0
    assert hi > 1


def test_the_estimate_lies_in_its_interval() -> None:
    """To the last bit, where nothing varies, and the logarithm and back rounds."""
    ratios = np.arange(0.01, 3, 0.01)
    lo, hi = combined_limits(ratios, (ratios, ratios), np.zeros(()), LOG)
    assert (lo <= ratios).all()
    assert (ratios <= hi).all()


def test_a_ratio_of_nothing_has_no_limits() -> None:
    assert mean_of_trainings([0.0, 0.5], LOG).printed == (0.0, None, None)


def test_what_is_no_number_is_refused() -> None:
    for value, each in ((math.nan, (1.0,)), (1.0, (1.0, math.nan)), (1.0, ())):
        with pytest.raises(ValueError, match="one finite number per training"):
            OverTrainings(value, each)
    with pytest.raises(ValueError, match="at least one example"):
        accuracy([0.5], 0)


@pytest.mark.parametrize(("share", "n"), [(0.123, 7), (0.5, 1), (0.999, 321)])
def test_wilson_solves_its_equation(share: float, n: int) -> None:
    for limit in wilson_limits(np.array(share), n, 0.9):
        p = float(limit)
        assert (share - p) ** 2 == pytest.approx(stats.norm.ppf(0.95) ** 2 * p * (1 - p) / n)


@pytest.mark.parametrize(("scale", "forward"), [(LOGIT, lambda p: math.log(p / (1 - p))), (PROBIT, stats.norm.ppf)])
def test_scales(scale: Scale, forward: Any) -> None:
    for p in (0.02, 0.5, 0.9):
        assert scale.forward(p) == pytest.approx(forward(p))
        assert scale.inverse(scale.forward(p)) == pytest.approx(p)
        assert scale.slope(p) == pytest.approx((forward(p + 1e-6) - forward(p - 1e-6)) / 2e-6)
    assert not scale.finite(0.5, 1.0)
    assert scale.finite([0.1, 0.9])
    assert LOG.slope(4.0) == 0.25


def test_the_same_formula_on_the_logit_scale() -> None:
    each = [0.8, 0.9, 0.95]
    e = stats.binomtest(53, 60).proportion_ci(0.95, "wilson")
    each = [x - np.mean(each) + 53 / 60 for x in each]
    centre, s = LOGIT.forward(53 / 60), np.std([LOGIT.forward(x) for x in each], ddof=1)
    half = stats.t.ppf(0.975, 2) * s / math.sqrt(3)
    expected = [centre + side * math.hypot(centre - LOGIT.forward(x), half) for side, x in zip((-1, 1), e, strict=True)]
    quantity = accuracy(each, 60, LOGIT)
    assert ends(quantity.printed) == pytest.approx([1 / (1 + math.exp(-x)) for x in expected])
    at_an_end = accuracy([0.8, 1.0], 60, LOGIT)
    assert (at_an_end.scale, at_an_end.printed) == (SHARE, accuracy([0.8, 1.0], 60).printed)


# --- intervals over examples ------------------------------------------------------------------------------------------


def jackknife(table: Floats, above: Bools, statistic: Any) -> float:
    """The standard error of the mean over trainings of a statistic of two sets, each left-out example by a loop."""
    variance = 0.0
    for members in (above, ~above):
        left = []
        for i in np.flatnonzero(members):
            keep = np.arange(table.shape[1]) != i
            left.append(np.mean([statistic(row[above & keep], row[~above & keep]) for row in table]))
        variance += (len(left) - 1) / len(left) * float(np.sum((np.array(left) - np.mean(left)) ** 2))
    return math.sqrt(variance)


def test_ratio_of_means_by_a_loop() -> None:
    table, above = counts("ratio")
    logs = [math.log(row[above].mean() / row[~above].mean()) for row in table]
    error = jackknife(table, above, lambda a, b: math.log(a.mean() / b.mean()))
    for level in (0.9, 0.95):
        z = stats.norm.ppf((1 + level) / 2)
        expected = np.exp(by_hand(logs, (np.mean(logs) - z * error, np.mean(logs) + z * error), level))
        quantity = made(ratio_of_means(table, above))
        assert ends(quantity.at(level)) == pytest.approx(expected)
    assert quantity.each == pytest.approx(np.exp(logs))
    assert quantity.value == pytest.approx(math.exp(np.mean(logs)))


def test_difference_and_mean_of_counts_by_a_loop() -> None:
    table, above = counts("difference")
    each = [row[above].mean() - row[~above].mean() for row in table]
    z = stats.norm.ppf(0.975) * jackknife(table, above, lambda a, b: a.mean() - b.mean())
    expected = by_hand(each, (np.mean(each) - z, np.mean(each) + z), 0.95)
    assert ends(made(difference_of_means(table, above)).printed) == pytest.approx(expected)
    one = table[:1]
    half = stats.norm.ppf(0.975) * stats.sem(one[0])
    assert ends(made(mean_over_examples(one)).printed) == pytest.approx((one.mean() - half, one.mean() + half))


def test_trainings_on_examples_of_their_own() -> None:
    """Their errors are independent: the squared errors add up. Shared examples count once."""
    table, above = counts("own", k=2)
    apart = np.full((2, 2 * table.shape[1]), np.nan)
    apart[0, : table.shape[1]], apart[1, table.shape[1] :] = table
    both = np.tile(above, 2)
    for kind in (of_log_ratios, of_aucs):
        singles = [float(standard_error(kind(row[None], above)[1])) for row in table]
        assert float(standard_error(kind(apart, both)[1])) == pytest.approx(math.hypot(*singles) / 2)
        same = np.stack([table[0], table[0]])
        assert float(standard_error(kind(same, above)[1])) == pytest.approx(singles[0])


def test_mean_auc_is_delongs() -> None:
    table, positive = counts("auc", k=2, m=12, n=15)
    a, b = (auc_interval(row, positive) for row in table)
    d = auc_difference(table[0], table[1], positive)
    assert a is not None
    assert b is not None
    assert d is not None
    assert d.lo is not None
    z = stats.norm.ppf(0.975)
    alone = [auc_interval(row, positive) for row in table]
    for row, interval in zip(table, alone, strict=True):
        assert made(mean_auc(row[None], positive)).printed == pytest.approx(interval)
    variances = [float(standard_error(of_aucs(row[None], positive)[1])) ** 2 for row in table]
    covariance = (sum(variances) - ((d.value - d.lo) / z) ** 2) / 2  # from the paired test
    error = math.sqrt(sum(variances) + 2 * covariance) / 2
    aucs = [roc_auc_score(positive, row) for row in table]
    mean = sum(aucs) / 2
    expected = np.clip(by_hand(aucs, (max(0, mean - z * error), min(1, mean + z * error)), 0.95), 0, 1)
    assert ends(made(mean_auc(table, positive)).printed) == pytest.approx(expected)


def test_auc_of_means() -> None:
    table, positive = counts("auc of means", k=4, m=12, n=15)
    table[1, 3] = np.nan  # not eligible in one training
    table = np.hstack([table, np.full((4, 1), np.nan)])  # and one example in none
    positive = np.append(positive, True)
    has = ~np.isnan(table).all(axis=0)
    means = np.nanmean(table[:, has], axis=0)
    quantity = made(auc_of_means(-table, ~positive))
    assert quantity.value == pytest.approx(roc_auc_score(~positive[has], -means))
    singles = [roc_auc_score(~positive[there], -row[there]) for row, there in zip(table, ~np.isnan(table), strict=True)]
    assert quantity.each == pytest.approx(singles)
    delong = auc_interval(-means, ~positive[has])
    assert delong is not None
    half = stats.t.ppf(0.975, 3) * np.std(singles, ddof=1) / 2
    expected = np.hypot([quantity.value - ends(delong)[0], ends(delong)[1] - quantity.value], half)
    assert ends(quantity.printed) == pytest.approx((quantity.value - expected[0], min(1, quantity.value + expected[1])))


def test_auc_on_the_probit_scale() -> None:
    table, positive = counts("probit", k=3, m=20, n=25)
    aucs = [roc_auc_score(positive, -row) for row in table]
    x, mean = stats.norm.ppf(aucs), float(np.mean(aucs))
    centre = stats.norm.ppf(mean)
    error = float(standard_error(of_aucs(-table, positive)[1])) / stats.norm.pdf(centre)
    half = math.hypot(stats.norm.ppf(0.975) * error, stats.t.ppf(0.975, 2) * np.std(x, ddof=1) / math.sqrt(3))
    quantity = made(mean_auc(-table, positive, PROBIT))
    assert ends(quantity.printed) == pytest.approx(tuple(stats.norm.cdf([centre - half, centre + half])))
    assert made(auc_of_means(-table, positive, PROBIT)).scale is PROBIT
    opposite = np.array([[3.0, 1, 2, 0], [1, 3, 0, 2.5]])  # right together, though one pair is wrong in one training
    together = made(auc_of_means(opposite, np.arange(4) < 2, PROBIT))
    assert (together.value, together.each, together.scale) == (1.0, (0.75, 0.75), AREA)
    assert together.printed == (1.0, 1.0, 1.0)
    perfect = np.where(positive, 1.0, 0.0)[None]
    assert made(mean_auc(perfect, positive, PROBIT)).printed == (1.0, 1.0, 1.0)
    assert made(mean_auc(perfect, positive, PROBIT)).scale is AREA


def test_what_the_examples_do_not_determine() -> None:
    table, above = counts("none")
    assert ratio_of_means(np.where(above, 0.0, table), above) is None
    assert ratio_of_means(np.where(above, np.nan, table), above) is None
    assert difference_of_means(np.where(above, np.nan, table), above) is None
    assert mean_over_examples(np.full((2, 3), np.nan)) is None
    nowhere = np.zeros_like(above)
    assert mean_auc(table, nowhere) is None
    assert auc_of_means(table, nowhere) is None
    single = np.arange(table.shape[1]) < 1
    for kind in (mean_auc, auc_of_means, ratio_of_means, difference_of_means):
        quantity = made(kind(table, single))
        assert quantity.printed == (quantity.value, None, None)
    carried = np.where(np.arange(table.shape[1]) == 0, 5.0, np.where(above, 0.0, table))  # without example 0 the mean is 0
    assert made(ratio_of_means(carried, above)).printed.lo is None


def test_share_of_groups() -> None:
    groups = [accuracy(shares, 400) for shares in ([0.99, 0.99], [0.9, 0.92], [0.89, 0.91], [0.2, 0.5])]
    quantity = share_of_groups(groups, 0.9)
    for level in (0.9, 0.95):
        limits = np.array([ends(group.at(level)) for group in groups])
        assert ends(quantity.at(level)) == tuple((limits >= 0.9).mean(axis=0))
    assert ends(quantity.printed) == (0.25, 1.0)  # with two trainings the last one reaches 0.9 too
    assert quantity.value == 0.75
    assert quantity.each == (0.5, 0.75)
    near = share_of_groups([accuracy(x, 400) for x in ([0.99, 0.99], [0.91, 0.91], [0.89, 0.89], [0.2, 0.2])], 0.9)
    assert near.printed == (0.5, 0.25, 0.75)
    assert share_of_groups([mean_of_trainings([0.5])], 0.9).printed == (0.0, None, None)
    assert share_of_groups([accuracy([0.95], 10_000)], 0.9).printed == (1.0, 1.0, 1.0)


def test_difference_of_accuracies() -> None:
    """Newcombe's (1998) table II, method 10, case (a): 56/70 − 48/80 = 0.2000 [0.0524, 0.3339]."""
    quantity = difference(accuracy([56 / 70], 70), accuracy([48 / 80], 80))
    assert quantity.value == pytest.approx(0.2)
    assert ends(quantity.printed) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    two = difference(accuracy([0.9, 0.8], 50), accuracy([0.5, 0.6], 50))
    assert two.each == pytest.approx((0.4, 0.2))
    assert difference(mean_of_trainings([1.0]), accuracy([0.5], 10)).printed.lo is None


def test_a_difference_from_what_no_examples_are_known_of_is_of_the_trainings_alone() -> None:
    each = [0.95, 0.9, 0.97]
    found = difference(mean_of_trainings(each), accuracy([0.5, 0.6, 0.55], 10))
    assert ends(found.printed) == pytest.approx(ends(mean_of_trainings([0.45, 0.3, 0.42]).printed))


def test_a_share_of_unknown_examples_is_of_the_trainings_alone() -> None:
    each = [0.5, 0.7, 0.6]
    assert share(each, 40).printed == accuracy(each, 40).printed
    low, high = stats.t.interval(0.95, 2, np.mean(each), stats.sem(each))
    for unknown in (None, 0):
        assert share(each, unknown).printed == pytest.approx((0.6, max(0.0, low), min(1.0, high)))


def test_the_share_of_examples_below_a_limit() -> None:
    """The examples have means 2, 8, 10 and 3. The second is below 10 on average, though not in one training.

    The second training does not have the last example.
    """
    table = np.array([[1.0, 12.0, 10.0, 3.0], [3.0, 4.0, 10.0, np.nan]])
    found = share_below(table, 10.0)
    assert (found.value, found.each) == (0.75, (0.5, 2 / 3))
    assert found.examples is not None
    assert found.examples(0.95) == pytest.approx(tuple(stats.binomtest(3, 4).proportion_ci(0.95, "wilson")))


def test_a_share_times_a_factor() -> None:
    whole = accuracy([0.9, 0.8], 50)
    part = scaled(whole, 0.25)
    assert (part.value, part.each) == (0.25 * whole.value, tuple(0.25 * v for v in whole.each))
    assert whole.examples is not None
    assert part.examples is not None
    assert part.examples(0.9) == pytest.approx([0.25 * end for end in whole.examples(0.9) or ()])
    assert scaled(mean_of_trainings([1.0, 2.0]), 2.0).examples is None


def test_the_complement_of_a_share() -> None:
    """As the accuracy of the errors, with a shared spread too."""
    for family in ([[0.9, 0.8]], [[0.9, 0.95], [0.7, 0.9], [0.8, 0.81]]):
        cells = pooled([accuracy(shares, 50) for shares in family])
        errors = pooled([accuracy([1 - v for v in shares], 50) for shares in family])
        for cell, error in zip(cells, errors, strict=True):
            found = complement(cell)
            assert (found.value, found.each) == (pytest.approx(error.value), pytest.approx(error.each))
            assert found.printed == pytest.approx(error.printed)


def test_repeats_are_averaged_within_a_training() -> None:
    rows = [
        ("b", 0, 1, 4.0),
        ("a", 0, 1, 1.0),
        ("a", 0, 1, 2.0),
        ("a", 1, 1, 5.0),
        ("b", 0, 2, math.nan),
        ("a", 0, 1, math.nan),
    ]
    trainings, seeds, examples, values = (np.array(column) for column in zip(*rows, strict=True))
    table = training_table(values, trainings, np.stack([seeds, examples], axis=1))
    expected = [[1.5, np.nan, 5.0], [4.0, np.nan, np.nan]]
    assert np.array_equal(table.values, expected, equal_nan=True)
    assert table.rows.tolist() == [0, 4, 3]
    assert np.array_equal(
        training_table(values, trainings, examples).values, [[8 / 3, np.nan], [4.0, np.nan]], equal_nan=True
    )


# --- pooling ----------------------------------------------------------------------------------------------------------


def test_two_trainings_take_the_familys_spread() -> None:
    family = [accuracy(shares, 500) for shares in ([0.6, 0.65], [0.7, 0.75], [0.85, 0.82], [0.7, 0.72, 0.75])]
    cells = pooled(family)
    variances = [np.var([LOGIT.forward(x) for x in cell.each], ddof=1) for cell in family]
    s = math.sqrt((sum(variances[:3]) + 2 * variances[3]) / 5)
    assert cells[3] is family[3]
    for cell, pooled_cell in zip(family[:3], cells[:3], strict=True):
        assert pooled_cell.spread == Spread(pytest.approx(s), 5)  # type: ignore[arg-type]
        centre, half = LOGIT.forward(cell.value), stats.t.ppf(0.95, 5) * s / math.sqrt(2)
        e = [float(x) for x in wilson_limits(np.array(cell.value), 500, 0.9)]
        below, above = (math.hypot(centre - LOGIT.forward(x), half) for x in e)
        expected = LOGIT.inverse(centre - below), LOGIT.inverse(centre + above)
        assert ends(pooled_cell.deciding) == pytest.approx(expected)
        assert np.diff(ends(pooled_cell.deciding)) < np.diff(ends(cell.deciding))


def test_a_cell_that_varies_more_keeps_its_own_spread() -> None:
    """Its variance is more than four times that of the others; just below four times it is pooled."""
    for factor, takes in ((4.01, False), (3.99, True)):
        step = math.sqrt(factor)
        each = [(1.0, math.e), (1.0, math.e), (1.0, math.exp(step))]
        cells = pooled([mean_of_trainings(x, LOG) for x in each])
        assert [cell.spread is not None for cell in cells] == [True, True, takes]
    together, takes_it = pooled_variances(np.array([1.0, 0.1, 1.3]), np.array([1.0, 1, 2]))
    assert together == pytest.approx((1 + 0.1 + 2.6) / 4)
    assert takes_it.all()  # a small variance takes the larger one: it is small by chance


def test_who_does_not_pool() -> None:
    alone = accuracy([0.5, 0.6], 100)
    assert pooled([alone]) == [alone]
    end, whole, inside = accuracy([0.9, 1.0], 100), accuracy([1.0, 1.0], 100), accuracy([0.6, 0.65], 100)
    cells = pooled([alone, inside, end, whole, accuracy([0.5], 100)])
    spread = cells[0].spread
    assert spread is not None
    assert spread.freedom == 2  # neither of the cells at 1, nor the single training
    assert [cell.spread == spread for cell in cells] == [True, True, True, False, False]
    assert cells[2].printed.hi is not None
    with pytest.raises(ValueError, match="one kind of quantity"):
        pooled([alone, mean_of_trainings([1.0, 2.0], LOG)])


# --- decisions --------------------------------------------------------------------------------------------------------

IN = Region(0.5, 2.0)


@pytest.mark.parametrize(
    ("lo", "hi", "region", "each", "expected"),
    [
        (0.6, 1.9, IN, [1, 1], Decision("holds")),
        (0.5, 2.0, IN, [1, 1], Decision("holds")),
        (0.49, 1.0, IN, [0.7, 0.8], Decision("inconclusive", "for")),
        (0.49, 1.0, IN, [0.7, 0.4], Decision("inconclusive", None)),
        (0.2, 0.51, IN, [0.3, 0.4], Decision("inconclusive", "against")),
        (0.2, 0.5, IN, [0.3, 0.4], Decision("inconclusive", "against")),
        (0.2, 0.49, IN, [0.3, 0.4], Decision("does_not_hold")),
        (2.1, 3.0, IN, [2.5, 2.6], Decision("does_not_hold")),
        (0.1, 9.0, IN, [0.2, 8.0], Decision("inconclusive", "against")),
        (0.5, 0.99, Region(0.5, 1.0, open_hi=True), [0.6, 0.7], Decision("holds")),
        (0.5, 1.0, Region(0.5, 1.0, open_hi=True), [0.6, 0.7], Decision("inconclusive", "for")),
        (1.0, 1.2, Region(0.5, 1.0, open_hi=True), [1.0, 1.1], Decision("does_not_hold")),
        (0.1, 0.5, Region(0.5, open_lo=True), [0.3, 0.5], Decision("does_not_hold")),
        (0.1, 0.5, Region(0.5), [0.3, 0.5], Decision("inconclusive", None)),
        (0.9, 1.0, Region(0.9), [0.95, 0.96], Decision("holds")),
        (-1.0, -0.8, Region(hi=-0.75, open_hi=True), [-0.9, -0.85], Decision("holds")),
        (0.95, 0.96, Region(0.9), [0.955], Decision("inconclusive", "for")),
        (0.1, 0.2, Region(0.9), [0.15], Decision("inconclusive", "against")),
        (None, None, Region(0.9), [0.95, 0.95], Decision("inconclusive", "for")),
    ],
)
def test_decide(lo: float, hi: float, region: Region, each: list[float], expected: Decision) -> None:
    assert decide(Interval(float(np.mean(each)), lo, hi), region, each) == expected


def test_regions() -> None:
    assert [str(r) for r in (IN, Region(0.9), Region(0.9, open_lo=True), Region(hi=0.03), Region(hi=1, open_hi=True))] == [
        "in [0.5, 2]", "at least 0.9", "above 0.9", "at most 0.03", "below 1",
    ]  # fmt: skip
    assert str(Region(0.5, 1, open_lo=True, open_hi=True)) == "in (0.5, 1)"
    assert 0.5 in IN
    assert 2.0 in IN
    assert 1.0 not in Region(0.5, 1.0, open_hi=True)
    assert 0.5 not in Region(0.5, 1.0, open_lo=True)
    for wrong in ((2.0, 1.0), (math.nan, 1.0), (-math.inf, math.inf)):
        with pytest.raises(ValueError, match="no region"):
            Region(*wrong)
    with pytest.raises(ValueError, match="no region"):
        Region(1.0, 1.0, open_lo=True)
    for each in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="one number per training"):
            decide(Interval(1.0, 0.9, 1.1), IN, each)


def tight(*centres: float, spread: float = 0.01, k: int = 5) -> list[OverTrainings]:
    steps = np.exp(spread * np.linspace(-1, 1, k))
    return [mean_of_trainings((c * steps).tolist(), LOG) for c in centres]


def test_decide_groups() -> None:
    assert decide_groups(tight(0.7, 1.0, 1.9), IN) == (Decision("holds"), 2)
    assert decide_groups(tight(1.0, 0.3, 2.5), IN) == (Decision("does_not_hold"), 1)  # 0.6 times the end, against 1.25 times
    assert decide_groups(tight(1.0, 2.001), IN) == (Decision("inconclusive", None), 1)
    assert decide_groups(tight(1.0, 1.99), IN) == (Decision("inconclusive", None), 1)
    assert decide_groups(tight(1.0, 1.95, k=2), IN) == (Decision("inconclusive", "for"), 1)
    assert decide_groups(tight(1.0, 3.0, k=1), IN) == (Decision("inconclusive", "against"), 1)
    assert decide_groups(tight(0.2, 1.0, k=1), Region(0.5)) == (Decision("inconclusive", "against"), 0)


def test_groups_on_several_scales_are_compared_as_they_are() -> None:
    """By logits, 0.05 is 2.2 below 0.3; as it is, 1.0 is the farther out."""
    groups = [accuracy([0.05, 0.05], 900, LOGIT), accuracy([1.0, 1.0], 900), accuracy([0.31, 0.3], 900, LOGIT)]
    assert [group.scale for group in groups] == [LOGIT, SHARE, LOGIT]
    assert decide_groups(groups, Region(0.3, 0.6)) == (Decision("does_not_hold"), 1)


def test_with_more_groups_it_takes_more_to_be_outside() -> None:
    out = mean_of_trainings([2.15, 2.2, 2.25], LOG)
    lo = next(level for level in np.arange(0.9, 1, 0.0005) if ends(out.at(level))[0] <= 2.0)
    enough = math.floor(0.05 / (1 - lo))  # 1 − 0.05/G reaches that level from the next G on
    for groups, verdict in ((enough, "does_not_hold"), (enough + 2, "inconclusive")):
        assert decide_groups([out, *tight(*[1.0] * (groups - 1), k=3)], IN).decision.verdict == verdict


# --- simulated coverage -----------------------------------------------------------------------------------------------

ONE_SE = Effect(1.0, "standard errors")


@pytest.mark.parametrize(
    ("simulation", "effect", "k", "how", "band"),
    [
        (Norms(), ONE_SE, 2, "own", (0.94, 0.96)),  # z instead of t: 0.70; trainings resampled: 0.50
        (Norms(), ONE_SE, 3, "own", (0.94, 0.96)),  # z: 0.81
        (Norms(), ONE_SE, 2, "pooled", (0.945, 0.965)),  # those of small variance apart: 0.92
        (Accuracy(0.5, 1_000), ONE_SE, 3, "own", (0.965, 0.985)),  # s without √k: 0.99; without s: 0.91
        (Accuracy(0.5, 1_000), EFFECTS[0], 3, "own", (0.94, 0.96)),  # examples counted for each training: 0.74
        (Accuracy(0.9, 1_000), EFFECTS[-1], 3, "transformed", (0.93, 0.955)),  # not on the logit scale: 0.89
    ],
)
def test_coverage(simulation: Norms | Accuracy, effect: Effect, k: int, how: How, band: tuple[float, float]) -> None:
    result = command.coverage(simulation, effect, k, how, 6_000)
    assert band[0] < result.coverage < band[1]
    assert result == command.coverage(simulation, effect, k, how, 6_000)


def test_trainings_resampled_cover_half() -> None:
    """Why trainings are not resampled: with two, the percentiles are the two values themselves."""
    each = stream(0, "test resampled").normal(size=(6_000, 2))
    held = float(((each.min(axis=1) <= 0) & (each.max(axis=1) >= 0)).mean())
    assert 0.48 < held < 0.52


@pytest.mark.parametrize("how", ["own", "pooled", "transformed"])
def test_the_simulation_forms_the_intervals_of_the_program(how: How) -> None:
    """Accuracies, some of them at 1; and AUCs."""
    simulation = Accuracy(0.97, 60)
    drawn = simulation.drawn(stream(0, "test same"), ONE_SE, (25, 3, 2))
    assert (drawn.each == 1).any()
    lo, hi = limits_of(drawn, SHARE, how)
    for i, family in enumerate(drawn.each):
        cells = [accuracy(each, 60, LOGIT if how == "transformed" else SHARE) for each in family]
        for j, cell in enumerate(pooled(cells) if how == "pooled" else cells):
            assert ends(cell.printed) == pytest.approx((lo[i, j], hi[i, j]))
    scores, positive = stream(0, "test same AUC").normal(size=(10, 3, 2, 14)), np.arange(14) < 6
    scale = PROBIT if how == "transformed" else AREA
    lo, hi = limits_of(by_influences(of_aucs(scores, positive), scale), AREA, how)
    for i, tables in enumerate(scores):
        quantities = [made(mean_auc(t, positive, scale)) for t in tables]
        for j, quantity in enumerate(pooled(quantities) if how == "pooled" else quantities):
            assert ends(quantity.printed) == pytest.approx((lo[i, j], hi[i, j]))


def test_the_same_for_ratios_and_differences() -> None:
    table, above = counts("same")
    lo, hi = limits_of(by_influences(of_log_ratios(table[None, None], above), LOG), LOG, "own")
    assert ends(made(ratio_of_means(table, above)).printed) == pytest.approx((lo[0, 0], hi[0, 0]))
    one, other = accuracy([0.8, 0.9], 50), accuracy([0.5, 0.7], 30)
    each = np.subtract(one.each, other.each)
    examples = [np.array([x]) for x in difference(one, other).examples(0.95)]  # type: ignore[misc, union-attr]
    drawn = Drawn(each[None], np.array([each.mean()]), (examples[0], examples[1]))
    limits = limits_of(drawn, REAL, "own")
    assert ends(difference(one, other).printed) == pytest.approx((limits[0][0], limits[1][0]))


def test_effects() -> None:
    normal = np.array([-1.0, 0.0, 2.0])
    assert Effect(0.5, "standard errors").applied(0.9, 0.1, SHARE, normal) == pytest.approx([0.85, 0.9, 1.0])
    logits = LOGIT.forward(0.9) + 0.5 * normal
    assert Effect(0.5, "transformed scale").applied(0.9, 0.1, SHARE, normal) == pytest.approx(LOGIT.inverse(logits))
    assert Effect(0.5, "standard errors").applied(1.0, 0.1, LOG, normal) == pytest.approx(np.exp(0.05 * normal))
    assert Effect(1.0, "transformed scale").expected(0.5, 0.1, AREA) == pytest.approx(0.5)
    truth = Ranking(0.8, 50, 50, averaged=True, anew=0.5).truth(Effect(0.0, "standard errors"), 4)
    assert truth == pytest.approx(stats.norm.cdf(stats.norm.ppf(0.8) / math.sqrt(0.5 + 0.5 / 4)))


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    few = (
        Accuracy(0.9, 100),
        Gap(Accuracy(0.9, 100), Accuracy(0.8, 50)),
        Groups((0.5, 0.9), 100, "two"),
        MeanCount(20),
        TwoCounts(20, 20, "difference"),
        TwoCounts(20, 20, "ratio"),
        Ranking(0.8, 20, 20),
        Norms(),
        Family(shared=0.5),
        Family(factor=4.0, widest=True),
    )
    monkeypatch.setattr(command, "SIMULATIONS", few)
    monkeypatch.setattr(sys, "argv", ["coverage", "--json", "--fraction", "0.002"])
    assert command.main() == 0
    results = json.loads(capsys.readouterr().out)
    assert {r["estimator"] for r in results} == {s.name[0] for s in few}
    assert all(0 <= r["coverage"] <= 1 for r in results)
    assert {(r["k"], r["how"]) for r in results if r["estimator"] == "accuracy"} == {
        (2, "own"), (2, "pooled"), (3, "own"), (5, "own"), (30, "own"),
    }  # fmt: skip
    text = command.table([command.Coverage(**r) for r in results])
    lowest = min(r["coverage"] for r in results if (r["estimator"], r["k"], r["unit"]) == ("mean AUC", 3, "standard errors"))
    line = next(x for x in text.splitlines() if x.startswith("mean AUC") and "standard errors" in x)
    assert line.split()[-3] == f"{lowest:.3f}"
    monkeypatch.setattr(sys, "argv", ["coverage", "--transformed", "--fraction", "0.001"])
    assert command.main() == 0
    assert "Wilson" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["coverage", "--fraction", "2"])
    with pytest.raises(SystemExit):
        command.main()
