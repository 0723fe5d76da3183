"""The bootstraps of the flip study against formulas and explicit resampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benchmarks.bootstrap import bootstrap_crossed, bootstrap_crossed_ratio, bootstrap_ratio
from memloc.seeds import stream


def test_bootstrap_of_a_ratio_against_the_delta_method() -> None:
    """Independent values in clusters of one: the ratio's standard error is r·√(s₁²/(n₁m₁²) + s₂²/(n₂m₂²))."""
    values = stream(0, "test values").gamma(4.0, size=400)
    above, clusters = np.arange(400) % 2 == 0, np.arange(400)
    found = bootstrap_ratio(values, above, clusters, stream(1, "test bootstrap"), resamples=4000)
    assert found is not None
    one, other = values[above], values[~above]
    ratio = one.mean() / other.mean()
    error = ratio * math.sqrt(sum(x.var() / (len(x) * x.mean() ** 2) for x in (one, other)))
    assert found.value == pytest.approx(ratio)
    assert (found.lo, found.hi) == pytest.approx((ratio - 1.96 * error, ratio + 1.96 * error), abs=0.3 * error)
    assert bootstrap_ratio(values, above, clusters, stream(1, "test bootstrap"), resamples=4000) == found
    assert bootstrap_ratio(values, above, clusters, stream(2, "test bootstrap"), resamples=4000) != found


def test_bootstrap_over_every_resample_of_three_clusters() -> None:
    """All 27 equally likely resamples of clusters a, b, c of unequal size; the drawn ones are among them, as often."""
    clusters = np.array(["a", "a", "b", "b", "c", "c", "c"])
    values = np.array([1.0, 2.0, 10.0, 3.0, 4.0, 5.0, 6.0])
    above = np.array([True, False, True, False, True, False, True])
    drawn = itertools.product(*[[np.flatnonzero(clusters == name) for name in "abc"]] * 3)
    ratios = [values[k][above[k]].mean() / values[k][~above[k]].mean() for k in map(np.concatenate, drawn)]
    found = bootstrap_ratio(values, above, clusters, stream(0, "three"), resamples=3000)
    assert found is not None
    assert found.lo == pytest.approx(np.quantile(ratios, 0.025, method="inverted_cdf"))
    assert found.hi == pytest.approx(np.quantile(ratios, 0.975, method="inverted_cdf"))


def test_clusters_that_move_together_widen_the_interval() -> None:
    """Ten clusters of twenty equal pairs are ten observations, not two hundred."""
    levels = 2 + stream(0, "test levels").random(size=20)
    above, clusters = np.arange(20) % 2 == 0, np.arange(20) // 2
    repeated = bootstrap_ratio(np.repeat(levels, 20), np.repeat(above, 20), np.repeat(clusters, 20), stream(0, "wide"))
    alone = bootstrap_ratio(levels, above, clusters, stream(0, "wide"))
    assert repeated is not None
    assert alone is not None
    assert repeated == pytest.approx(alone)


def test_bootstrap_of_a_ratio_of_means() -> None:
    """Every resample of two clusters by hand: cluster 0 alone gives 3/1, cluster 1 10/5, one of each (16/3)/3."""
    values = np.array([2.0, 4.0, 1.0, 10.0, 5.0])
    above = np.array([True, True, False, True, False])
    clusters = np.array([0, 0, 0, 1, 1])
    found = bootstrap_ratio(values, above, clusters, stream(0, "ratio"))
    assert found is not None
    assert found.value == pytest.approx((16 / 3) / 3)
    assert (found.lo, found.hi) == pytest.approx((16 / 9, 3.0))


def test_bootstrap_of_what_is_not_there() -> None:
    two, generator = np.array([1.0, 2.0]), stream(0, "none")
    above = np.array([True, False])
    assert bootstrap_ratio(two, above, np.array([7, 7]), generator) == (0.5, None, None)
    assert bootstrap_ratio(two, np.array([True, True]), np.array([0, 1]), generator) is None
    assert bootstrap_ratio(np.array([1.0, 0.0]), above, np.array([0, 1]), generator) is None
    assert bootstrap_ratio(np.array([]), np.array([], dtype=bool), np.array([]), generator) is None
    # Resamples of one cluster alone lack a set; the others all say 1/2.
    assert bootstrap_ratio(two, above, np.array([0, 1]), generator) == (0.5, 0.5, 0.5)


def test_crossed_bootstrap_against_the_variance_of_a_crossed_design() -> None:
    """y = row + column + noise: the mean of an R×C table varies by σ_r²/R + σ_c²/C + σ²/(RC); intervals must cover it."""
    rows, columns, missed = 12, 30, 0
    for i in range(200):
        generator = stream(0, "test crossed", i)
        values = (
            generator.normal(size=(rows, 1))
            + 2 * generator.normal(size=(1, columns))
            + generator.normal(size=(rows, columns))
        )
        found = bootstrap_crossed(values, stream(1, "test crossed", i), resamples=400)
        assert found is not None
        assert found.value == pytest.approx(values.mean())
        assert found.lo is not None
        assert found.hi is not None
        missed += not found.lo <= 0 <= found.hi
    assert 2 <= missed <= 24  # nominally 10; few rows are a little too narrow


def test_crossed_bootstrap_of_one_row_is_that_of_its_columns() -> None:
    values = stream(0, "test values").gamma(2.0, size=100)
    found = bootstrap_crossed(values[None], stream(1, "test crossed"), resamples=4000)
    assert found is not None
    error = values.std() / math.sqrt(100)
    assert (found.lo, found.hi) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.05)
    assert bootstrap_crossed(values[:, None], stream(1, "test crossed"), resamples=4000) is not None


def test_crossed_bootstrap_with_holes_and_without_values() -> None:
    values = np.array([[1.0, np.nan, 3.0], [5.0, 7.0, np.nan]])
    found = bootstrap_crossed(values, stream(0, "test holes"))
    assert found is not None
    assert found.value == 4.0
    assert (found.lo, found.hi) == (1.0, 7.0)  # a single cell drawn again and again is the extreme
    assert bootstrap_crossed(np.full((2, 2), np.nan), stream(0, "test holes")) is None
    assert bootstrap_crossed(np.empty((0, 3)), stream(0, "test holes")) is None
    alone = bootstrap_crossed(np.array([[2.0, np.nan]]), stream(0, "test holes"))
    assert alone == (2.0, None, None)


def test_crossed_ratio_against_explicit_resampling() -> None:
    generator = stream(0, "test ratio")
    other = generator.gamma(4.0, size=(3, 40))
    one = other * generator.normal(1.1, 0.3, size=(3, 40))
    found = bootstrap_crossed_ratio(one, other, stream(1, "test ratio"), level=0.9, resamples=4000)
    assert found is not None
    assert found.value == pytest.approx(one.sum() / other.sum())
    drawn = []
    for _ in range(4000):
        rows, columns = generator.integers(0, 3, 3), generator.integers(0, 40, 40)
        drawn.append(one[np.ix_(rows, columns)].sum() / other[np.ix_(rows, columns)].sum())
    assert (found.lo, found.hi) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])), abs=0.006)
    assert bootstrap_crossed_ratio(one, other * 0, stream(1, "test ratio")) is None
