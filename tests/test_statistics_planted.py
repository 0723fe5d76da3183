"""The number of wrong labels from planted ones, on simulated scores whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from memloc.statistics.planted import REACHED, PlantedShare, planted_shares, ratio_limits

MANY = 10**9  # classes: a planted label is then never the true one


def planted_share(planted: np.ndarray, others: np.ndarray, classes: int = MANY) -> PlantedShare:
    return planted_shares([(planted, others)], classes)[0]


def scores(draw: np.random.Generator, wrong: int, right: int, apart: float) -> np.ndarray:
    """Normal scores; those of wrong labels lie `apart` above the others."""
    return np.concatenate([draw.normal(apart, 1, wrong), draw.normal(0, 1, right)])


@pytest.mark.parametrize(("share", "apart"), [(0.01, 5.0), (0.05, 4.0), (0.2, 4.0), (0.5, 4.0)])
def test_the_share_of_a_known_mixture(share: float, apart: float) -> None:
    """Within a tenth on average. The choice of the threshold costs some of the coverage."""
    n, m, inside, values = 4000, 200, 0, []
    for seed in range(200):
        draw = np.random.default_rng([seed, round(100 * share)])
        wrong = draw.binomial(n, share)
        found = planted_share(draw.normal(apart, 1, m), scores(draw, wrong, n - wrong, apart))
        lo, hi = found.limits(0.95)
        inside += lo <= share <= hi
        values.append(found.value)
    assert np.mean(values) == pytest.approx(share, rel=0.1)
    assert inside >= 0.9 * 200


def test_several_trainings_share_a_threshold() -> None:
    """By the sum of their upper limits: one training alone may prefer another one."""
    draw = np.random.default_rng(5)
    others = scores(draw, 200, 3800, 2.5)
    trainings = [(draw.normal(2.5, 1, 200), others + draw.normal(0, 0.1, 4000)) for _ in range(3)]
    found = planted_shares(trainings, MANY)
    assert len({share.planted for share in found}) == 1
    reached = {}
    for quantile in REACHED:
        reached[quantile] = 0.0
        for planted, rest in trainings:
            cut = np.sort(planted)[-round(quantile * 200)]
            counts = (np.mean(rest >= cut), 4000), (np.mean(planted >= cut), 200)
            reached[quantile] += ratio_limits(*counts, 0.95)[1]
    assert found[0].planted == pytest.approx(min(reached, key=reached.__getitem__), abs=0.01)


def test_right_labels_that_look_wrong_make_it_too_large_and_never_too_small() -> None:
    """Where a threshold separates little, the estimate is an upper bound."""
    values = []
    for seed in range(100):
        draw = np.random.default_rng([seed, 7])
        values.append(planted_share(draw.normal(2, 1, 200), scores(draw, 200, 3800, 2.0)).value)
    assert 0.05 < np.mean(values) < 0.09


def test_nothing_wrong_is_nothing() -> None:
    draw = np.random.default_rng(3)
    found = planted_share(draw.normal(9, 1, 100), draw.normal(0, 1, 2000))
    assert found.value == 0
    assert found.limits(0.95)[0] == 0
    assert 0 < found.limits(0.95)[1] < 0.005


def test_the_counts_behind_an_estimate() -> None:
    planted, others = np.arange(20.0), np.array([25.0, 19.0, 11.0, -1.0, -2.0])
    found = planted_share(planted, others)
    assert found.planted == np.mean(planted >= found.threshold)
    assert found.others == np.mean(others >= found.threshold)
    assert found.value == pytest.approx(min(1.0, found.others / found.planted))
    assert (found.n_planted, found.n_others) == (20, 5)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_equal_scores_say_that_labels_may_be_drawn_at_random(classes: int) -> None:
    found = planted_share(np.ones(10), np.ones(10), classes)
    assert found.value == found.limits(0.95)[1] == pytest.approx(1 - 1 / classes)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_scores_that_separate_wrong_labels_give_their_share(classes: int, share: float) -> None:
    """Of the planted labels the share π/(K − 1) is right: labels were wrong before, and became the true ones."""
    right = round(900 * share / (classes - 1))
    planted = np.repeat([0.0, 1.0], [right, 900 - right])
    others = np.repeat([0.0, 1.0], [1000 - round(1000 * share), round(1000 * share)])
    assert planted_share(planted, others, classes).value == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("confused", ["uniform", "the next class"])
def test_labels_that_are_planted_over_wrong_ones(classes: int, confused: str) -> None:
    """As data are planted, whatever the confusions. The choice of the threshold makes it some per cent too small."""
    n, m, share, inside, values = 4000, 200, 0.3, 0, []
    for seed in range(60):
        draw = np.random.default_rng([seed, classes])
        true = draw.integers(0, classes, n)
        wrong = np.arange(n) < draw.binomial(n, share)
        step = draw.integers(1, classes, n) if confused == "uniform" else 1
        given = np.where(wrong, (true + step) % classes, true)
        planted = np.isin(np.arange(n), draw.choice(n, m, replace=False))
        label = np.where(planted, (given + draw.integers(1, classes, n)) % classes, given)
        score = draw.normal(0, 1, n) + 4 * (label != true)
        found = planted_share(score[planted], score[~planted], classes)
        lo, hi = found.limits(0.95)
        inside += lo <= share <= hi
        values.append(found.value)
    assert np.mean(values) == pytest.approx(share, rel=0.07)
    assert inside >= 0.8 * 60


@pytest.mark.parametrize("trainings", [[], [(np.zeros(0), np.zeros(3))], [(np.zeros(3), np.zeros(0))]])
def test_without_examples_there_is_no_estimate(trainings: list[tuple[np.ndarray, np.ndarray]]) -> None:
    with pytest.raises(ValueError, match="needs planted examples and others"):
        planted_shares(trainings, 3)


@pytest.mark.parametrize(("p", "n", "q", "m"), [(0.02, 2000, 0.9, 100), (0.3, 400, 0.6, 50), (0.005, 1000, 0.95, 300)])
def test_the_interval_of_a_ratio_covers_it(p: float, n: int, q: float, m: int) -> None:
    draw = np.random.default_rng([n, m])
    inside = 0
    for _ in range(4000):
        above, below = draw.binomial(n, p) / n, draw.binomial(m, q) / m
        lo, hi = ratio_limits((above, n), (below, m), 0.95)
        inside += lo <= p / q <= hi
    assert 0.935 <= inside / 4000 <= 0.975
