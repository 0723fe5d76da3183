"""Statistics against scikit-learn and explicit loops over pairs and orders."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from memloc.seeds import stream
from memloc.statistics import (
    Bools,
    Floats,
    Interval,
    auc,
    auc_difference,
    auc_interval,
    average_precision,
    page_trend,
    precision_at,
    rank_correlation,
    spearman_test,
    student_interval,
    wilson_interval,
)

# Few distinct scores, so that ties are the rule.
RANKINGS = st.lists(st.tuples(st.integers(-3, 3), st.booleans(), st.integers(-2, 2)), min_size=2, max_size=25)


def arrays(rows: list[tuple[Any, ...]]) -> tuple[Floats, Bools, Floats]:
    one, positive, other = zip(*rows, strict=True)
    return np.array(one, dtype=np.float64), np.array(positive, dtype=bool), np.array(other, dtype=np.float64)


def sample(name: str, m: int = 40, n: int = 60) -> tuple[Floats, Floats, Bools]:
    """Two correlated scores of which the first is the better, rounded so that some are tied."""
    generator = stream(0, "test statistics", name)
    positive = np.arange(m + n) < m
    common = generator.normal(size=m + n)
    one = np.round(common + generator.normal(size=m + n) + 1.5 * positive, 1)
    other = np.round(common + generator.normal(size=m + n) + 0.8 * positive, 1)
    return one, other, positive


def psi(x: float, y: float) -> float:
    return 1.0 if x > y else 0.5 if x == y else 0.0


def auc_by_pairs(scores: Floats, positive: Bools) -> float:
    pairs = [psi(x, y) for x in scores[positive] for y in scores[~positive]]
    return sum(pairs) / len(pairs)


def covariance_by_pairs(one: Floats, other: Floats, positive: Bools) -> float:
    """DeLong, DeLong & Clarke-Pearson (1988), equations 4 to 6, term by term."""
    m, n = int(positive.sum()), int((~positive).sum())

    def components(scores: Floats) -> tuple[list[float], list[float], float]:
        x, y = scores[positive].tolist(), scores[~positive].tolist()
        theta = sum(psi(a, b) for a in x for b in y) / (m * n)
        return [sum(psi(a, b) for b in y) / n for a in x], [sum(psi(a, b) for a in x) / m for b in y], theta

    (v10, v01, theta), (w10, w01, eta) = components(one), components(other)
    s10 = sum((v - theta) * (w - eta) for v, w in zip(v10, w10, strict=True)) / (m - 1)
    s01 = sum((v - theta) * (w - eta) for v, w in zip(v01, w01, strict=True)) / (n - 1)
    return s10 / m + s01 / n


def resampled_aucs(one: Floats, other: Floats, positive: Bools, name: str) -> Floats:
    """float64[4000, 2]: AUCs of both scores, positives and negatives drawn anew, each within its class."""
    generator = stream(0, "test resamples", name)
    x, y = np.flatnonzero(positive), np.flatnonzero(~positive)
    drawn = []
    for _ in range(4000):
        i, j = generator.choice(x, len(x)), generator.choice(y, len(y))
        drawn.append([((s[i, None] > s[j]) + 0.5 * (s[i, None] == s[j])).mean() for s in (one, other)])
    return np.array(drawn)


# --- AUC --------------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(RANKINGS)
def test_auc_with_ties(rows: list[tuple[Any, ...]]) -> None:
    scores, positive, _ = arrays(rows)
    found = auc(scores, positive)
    if positive.all() or not positive.any():
        assert found is None
        return
    assert found == pytest.approx(auc_by_pairs(scores, positive), abs=1e-12)
    assert found == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


def test_auc_by_hand() -> None:
    positive = np.array([True, True, False, False])
    assert auc(np.array([3.0, 1.0, 1.0, 0.0]), positive) == (1 + 1 + 0.5 + 1) / 4
    assert auc(np.array([np.inf, 1.0, 0.0, -np.inf]), positive) == 1.0
    assert auc(np.array([0.0, 0.0, 1.0, 2.0]), positive) == 0.0


def test_auc_is_mann_whitneys_u() -> None:
    one, _, positive = sample("u")
    u = stats.mannwhitneyu(one[positive], one[~positive]).statistic
    assert auc(one, positive) == pytest.approx(u / (positive.sum() * (~positive).sum()), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(RANKINGS)
def test_delong_against_its_formula(rows: list[tuple[Any, ...]]) -> None:
    one, positive, other = arrays(rows)
    if min(positive.sum(), (~positive).sum()) < 2:
        return
    pairs = ((one, one), (other, other), (one, other))
    own, others, shared = (covariance_by_pairs(s, t, positive) for s, t in pairs)
    interval, value = auc_interval(one, positive), auc_by_pairs(one, positive)
    assert interval is not None
    half = 1.959963984540054 * math.sqrt(own)
    assert interval == pytest.approx((value, max(0.0, value - half), min(1.0, value + half)), abs=1e-9)
    variance = own + others - 2 * shared
    found, difference = auc_difference(one, other, positive), auc_by_pairs(one, positive) - auc_by_pairs(other, positive)
    assert found is not None
    assert found.value == pytest.approx(difference, abs=1e-12)
    assert found.lo == pytest.approx(found.value - 1.959963984540054 * math.sqrt(max(0, variance)), abs=1e-6)
    assert found.hi == pytest.approx(found.value + 1.959963984540054 * math.sqrt(max(0, variance)), abs=1e-6)
    if variance > 1e-9:
        assert found.p == pytest.approx(2 * stats.norm.sf(abs(difference) / math.sqrt(variance)), abs=1e-6)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_delong_against_the_bootstrap(name: str) -> None:
    one, other, positive = sample(name)
    drawn = resampled_aucs(one, other, positive, name)
    interval = auc_interval(one, positive)
    assert interval is not None
    assert (interval.lo, interval.hi) == pytest.approx(tuple(np.quantile(drawn[:, 0], [0.025, 0.975])), abs=0.015)
    difference = auc_difference(one, other, positive)
    assert difference is not None
    quantiles = tuple(np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975]))
    assert (difference.lo, difference.hi) == pytest.approx(quantiles, abs=0.015)


def test_the_interval_covers_and_the_test_keeps_its_level() -> None:
    """300 samples whose true AUC is Φ(1/√2) and whose true difference is 0: about 5 % miss each."""
    truth, missed, rejected = stats.norm.cdf(1 / math.sqrt(2)), 0, 0
    for i in range(300):
        generator = stream(0, "test coverage", i)
        positive = np.arange(110) < 50
        one, other = generator.normal(size=(2, 110)) + positive
        interval, difference = auc_interval(one, positive), auc_difference(one, other, positive)
        assert interval is not None
        assert difference is not None
        assert None not in (*interval, *difference)
        missed += not interval.lo <= truth <= interval.hi  # type: ignore[operator]
        rejected += difference.p < 0.05  # type: ignore[operator]
        assert (difference.p < 0.05) == (difference.lo > 0 or difference.hi < 0)  # type: ignore[operator]
    for misses in (missed, rejected):
        assert stats.binomtest(misses, 300, 0.05).pvalue > 1e-3


def test_degenerate_rankings() -> None:
    positive = np.array([True, True, False, False, False])
    perfect, constant = np.array([5.0, 4, 3, 2, 1]), np.zeros(5)
    assert auc_interval(perfect, positive) == (1.0, 1.0, 1.0)
    assert auc_interval(constant, positive) == (0.5, 0.5, 0.5)
    assert auc_difference(perfect, perfect**3, positive) == (0.0, 0.0, 0.0, 1.0)
    assert auc_difference(constant, perfect, positive) == (-0.5, -0.5, -0.5, 0.0)
    single = np.array([True, False, False, False, False])
    assert auc_interval(perfect, single) == (1.0, None, None)
    assert auc_difference(perfect, constant, single) == (0.5, None, None, None)
    # Of few examples the normal interval would leave [0, 1].
    clipped = auc_interval(np.array([5.0, 2.5, 3, 2, 1]), positive)
    assert clipped is not None
    assert clipped.hi == 1.0
    assert 0 <= (clipped.lo or 0) < clipped.value < 1


@pytest.mark.parametrize("scores", [[1.0, 2.0, 3.0], [1.0, math.nan, 3.0]])
@pytest.mark.parametrize("positive", [[False] * 3, [True] * 3, [True, False, True]])
def test_undetermined_is_none(scores: list[float], positive: list[bool]) -> None:
    s, p, w = np.array(scores), np.array(positive), np.ones(3)
    found = [
        auc(s, p),
        auc_interval(s, p),
        auc_difference(np.arange(3.0), s, p),
        auc_difference(s, np.arange(3.0), p),
        average_precision(s, p, w),
        precision_at(s, p, w, 1),
    ]
    determined = len(set(positive)) == 2 and not np.isnan(s).any()
    expected = [determined] * 6
    assert [f is not None for f in found] == expected


# --- precision --------------------------------------------------------------------------------------------------------

# (score, positive, integer weight)
WEIGHTED = st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 3)), min_size=2, max_size=6)


def expand(scores: Floats, positive: Bools, weights: Floats) -> list[tuple[float, bool]]:
    """Every row as often as its weight says, best first."""
    rows = [
        (s, p) for s, p, w in zip(scores.tolist(), positive.tolist(), weights.tolist(), strict=True) for _ in range(int(w))
    ]
    return sorted(rows, key=lambda row: -row[0])


@settings(max_examples=150, deadline=None)
@given(WEIGHTED)
def test_average_precision_against_repeated_rows(rows: list[tuple[Any, ...]]) -> None:
    scores, positive, weights = arrays(rows)
    found = average_precision(scores, positive, weights)
    if positive.all() or not positive.any():
        assert found is None
        return
    ranked, expected, recall_before = expand(scores, positive, weights), 0.0, 0.0
    total = sum(p for _, p in ranked)
    for threshold in sorted({s for s, _ in ranked}, reverse=True):
        kept = [p for s, p in ranked if s >= threshold]
        recall = sum(kept) / total
        expected += (recall - recall_before) * sum(kept) / len(kept)
        recall_before = recall
    assert found == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(WEIGHTED, st.integers(1, 20))
def test_precision_against_every_order_of_ties(rows: list[tuple[Any, ...]], mass: int) -> None:
    scores, positive, weights = arrays(rows)
    found = precision_at(scores, positive, weights, mass)
    if positive.all() or not positive.any():
        assert found is None
        return
    ranked = expand(scores, positive, weights)
    k = min(mass, len(ranked))
    sure = [p for s, p in ranked if s > ranked[k - 1][0]]
    tied = [p for s, p in ranked if s == ranked[k - 1][0]]
    # Which of the tied rows come first: every subset of that size is equally likely.
    chosen = [sum(subset) for subset in itertools.combinations(tied, k - len(sure))]
    assert found == pytest.approx((sum(sure) + sum(chosen) / len(chosen)) / k, abs=1e-12)


def test_precision_by_hand() -> None:
    positive = np.array([True, False, True, False])
    ones = np.ones(4)
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, ones, 2) == 0.5
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, ones, 1) == 1.0
    assert precision_at(np.array([4.0, 3, 3, 1]), positive, ones, 2) == 0.75
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, ones, 2.5) == pytest.approx(1.5 / 2.5)
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, np.array([1.0, 4, 1, 4]), 2) == 0.5
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, ones, 100) == 0.5
    assert precision_at(np.array([np.inf, 3, 2, -np.inf]), positive, ones, 1) == 1.0
    assert precision_at(np.array([4.0, 3, 2, 1]), positive, ones, 0) is None


def test_precision_never_exceeds_one() -> None:
    """Weights that are no binary fractions, a perfect ranking, the mass of all positives."""
    for m in range(1, 60):
        positive = np.arange(2 * m) < m
        weights = np.where(positive, 7 / m, 93 / m)
        found = precision_at(positive.astype(float), positive, weights, 7.0)
        assert found is not None
        assert 1 - 1e-12 < found <= 1


# --- two sets of columns, trainings, shares, ranks --------------------------------------------------------------------


def test_shares_against_wilsons_formula() -> None:
    """The limits p solve |share − p| = z·√(p(1 − p)/n); a share that was rounded to 32 bits is the same k of n."""
    for k, n in ((0, 5), (3, 7), (59, 60), (60, 60), (9_871, 50_000)):
        found, z2 = wilson_interval(float(np.float32(k / n)), n), stats.norm.ppf(0.975) ** 2
        assert found.value == pytest.approx(k / n)
        limits = sorted(np.roots([1 + z2 / n, -(2 * k / n + z2 / n), (k / n) ** 2]).real)
        assert (found.lo, found.hi) == pytest.approx(limits, abs=1e-7)
    assert wilson_interval(0.0, 0).lo is None


def test_ranks_by_scipy_and_by_all_orders() -> None:
    """p: the share of the 120 orders with as large a coefficient, rounding aside."""
    generator = stream(0, "test", "ranks")
    one, other = np.array([1.0, 2.0, 2.0, 4.0, 5.0]), np.array([2.0, 1.0, 3.0, 3.0, 9.0])
    found = spearman_test(one, other, generator)
    assert found is not None
    rho = float(stats.spearmanr(one, other).statistic)
    assert found.interval.value == pytest.approx(rho)
    every = [stats.spearmanr(one, other[list(p)]).statistic for p in itertools.permutations(range(5))]
    assert found.p == pytest.approx(np.mean(np.array(every) >= rho - 1e-9))
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / 2)
    assert (found.interval.lo, found.interval.hi) == pytest.approx([math.tanh(math.atanh(rho) + s * half) for s in (-1, 1)])


def test_ranks_that_say_nothing() -> None:
    generator = stream(0, "test", "ranks")
    assert spearman_test(np.ones(5), np.arange(5.0), generator) is None
    assert spearman_test(np.arange(2.0), np.arange(2.0), generator) is None
    assert spearman_test(np.arange(9.0), np.arange(9.0), generator).interval == (1.0, None, None)  # type: ignore[union-attr]


def test_trainings_by_scipy() -> None:
    values = [0.3, 0.5, 0.9, 0.4]
    assert student_interval(values) == pytest.approx(
        (np.mean(values), *stats.t.interval(0.95, 3, np.mean(values), stats.sem(values)))
    )
    assert student_interval([0.5]) == (0.5, None, None)
    assert student_interval([]) is None


def test_a_rank_correlation_by_ranks() -> None:
    one, other = np.array([3.0, 1.0, 2.0, 2.0]), np.array([1.0, -1.0, 4.0, 0.0])
    expected = np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1]
    assert rank_correlation(one, other) == pytest.approx(expected)
    assert rank_correlation(one[:2], other[:2]) is rank_correlation(one * 0, other) is None
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 2.0])) == 0


def test_pages_trend_over_all_orders_of_two_rows() -> None:
    """Page's L is Σ column · sum of its ranks. By chance every row is one of the six orders of three columns."""
    rows = np.array([[0.1, 0.2, 0.3], [0.5, 0.7, 0.6]])
    found, each = page_trend(rows)
    assert each == pytest.approx([1.0, 0.5])
    assert found.interval == pytest.approx((0.75, None, None))
    orders = [np.array(order) for order in itertools.permutations((1, 2, 3))]
    chance = [float(np.arange(1, 4) @ (a + b)) for a in orders for b in orders]
    observed = float(np.arange(1, 4) @ (np.array([1, 2, 3]) + np.array([1, 3, 2])))
    assert found.p == pytest.approx(np.mean([value >= observed for value in chance]))
    assert page_trend(np.array([[1.0, 1.0, 1.0]])) == ((Interval(0.0, None, None), 1.0), [0.0])
