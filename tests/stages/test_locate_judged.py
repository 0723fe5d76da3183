"""How scores are judged, against counting and against scikit-learn."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from memloc.stages.locate.judged import auc, auc_within, descending, expected_recall, first_lost

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("values", [2, 5, 1000])
def test_auc_with_ties(values: int) -> None:
    scores, truth = RANDOM.integers(0, values, 60).astype(float), RANDOM.random(60) < 0.3
    assert auc(scores[truth], scores[~truth]) == pytest.approx(roc_auc_score(truth, scores))


def test_auc_without_pairs() -> None:
    some, none = np.array([1.0]), np.array([])
    assert auc(some, none) is None
    assert auc(none, some) is None
    assert auc_within(np.array([1.0, 2.0]), np.array([True, False]), np.array([0, 1])) is None


def test_auc_within_layers_by_counting() -> None:
    scores, truth, layer = RANDOM.integers(0, 4, 40).astype(float), RANDOM.random(40) < 0.4, RANDOM.integers(0, 3, 40)
    pairs = [(i, j) for i, j in product(range(40), repeat=2) if truth[i] and not truth[j] and layer[i] == layer[j]]
    right = sum((scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j]) for i, j in pairs)
    assert auc_within(scores, truth, layer) == pytest.approx(right / len(pairs))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 9])
def test_recall_is_the_mean_over_all_orders_of_ties(k: int) -> None:
    scores, truth = np.array([1.0, 3.0, 1.0, 1.0, 0.0]), np.array([True, False, True, False, True])
    shares = []
    for order in permutations(range(5)):
        taken = sorted(order, key=lambda place: -scores[place])[:k]  # stable: ties stay in the order of the permutation
        shares.append(truth[taken].sum() / 3)
    assert expected_recall(scores, truth, k) == pytest.approx(np.mean(shares))
    assert expected_recall(scores, np.zeros(5, dtype=bool), k) is None


def test_the_order_of_closing() -> None:
    assert descending(np.array([1.0, 2.0, 1.0, 1.0]), np.array([0.3, 0.0, 0.1, 0.2])) == [1, 2, 3, 0]


def test_when_the_label_is_lost() -> None:
    assert first_lost([3, 3, 1, 3], 3) == 2
    assert first_lost([1], 3) == 0
    assert first_lost([3, 3], 3) is None
