"""Precision of a ranking, every example counting with a weight."""

from __future__ import annotations

import numpy as np

from memloc.statistics.delong import undefined
from memloc.statistics.interval import Bools, Floats


def average_precision(scores: Floats, positive: Bools, weights: Floats) -> float | None:
    """Σ over distinct scores, from the top, of (recall's step) · precision, every example counting with its weight.

    Args:
        scores: float64[n].
        positive: bool[n].
        weights: float64[n], how many examples each stands for.

    Returns:
        In [0, 1]; None where a class is empty or a score is NaN.
    """
    from scipy.stats import rankdata  # each takes half a second; checking a sweep file does not need them
    from sklearn.metrics import average_precision_score

    if undefined(scores, positive):
        return None
    ranks = rankdata(scores)  # the order alone counts, and scikit-learn refuses infinite scores
    return float(average_precision_score(positive, ranks, sample_weight=weights))


def precision_at(scores: Floats, positive: Bools, weights: Floats, mass: float) -> float | None:
    """The positive share of the first `mass` of weight, from the top; of all the weight where there is less.

    The last block of equal scores that still fits in part counts with that fraction of its weight: the expected value
    over all orders within the block, an example of weight w standing for w examples of weight 1.

    Args:
        scores, positive, weights: as in `average_precision`.
        mass: in the unit of the weights.

    Returns:
        In [0, 1]; None where mass ≤ 0, a class is empty or a score is NaN.
    """
    if mass <= 0 or undefined(scores, positive):
        return None
    _, block = np.unique(-scores, return_inverse=True)
    weight = np.bincount(block, weights)
    hits = np.bincount(block, weights * positive)
    taken = np.clip(mass - (np.cumsum(weight) - weight), 0.0, weight)
    share = np.divide(taken, weight, out=np.zeros_like(weight), where=weight > 0)
    return min(1.0, float(share @ hits) / float(taken.sum()))
