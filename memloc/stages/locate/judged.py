"""How well scores name the true neurons. Pure functions of arrays; ties count by expectation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]


def expected_recall(scores: Floats, truth: Bools, k: int) -> float | None:
    """The expected share of the truth among the k highest scores, if ties are broken at random; None without a truth."""
    if not truth.any() or not k:
        return None
    k = min(k, len(scores))
    border = np.sort(scores)[::-1][k - 1]
    above, tied = scores > border, scores == border
    share = (k - above.sum()) / tied.sum()
    return float((truth[above].sum() + share * truth[tied].sum()) / truth.sum())


def auc(own: Floats, others: Floats) -> float | None:
    """The share of pairs in which one of `own` is above one of `others`; a tie counts half. None without pairs."""
    if not len(own) or not len(others):
        return None
    return concordant(own, others) / (len(own) * len(others))


def concordant(own: Floats, others: Floats) -> float:
    """The number of such pairs."""
    ordered = np.sort(others)
    below, not_above = (np.searchsorted(ordered, own, side=side) for side in ("left", "right"))
    return float((below + not_above).sum() / 2)


def auc_within(scores: Floats, truth: Bools, layer: I64) -> float | None:
    """The same over pairs within a layer alone: which layer holds the example tells nothing. layer: its number, [n]."""
    pairs, right = 0, 0.0
    for number in np.unique(layer):
        here = layer == number
        own, others = scores[here & truth], scores[here & ~truth]
        pairs += len(own) * len(others)
        right += concordant(own, others)
    return right / pairs if pairs else None


def descending(scores: Floats, keys: Floats) -> list[int]:
    """The places of the scores from the highest on; ties by their keys, the smallest first."""
    return [int(place) for place in np.lexsort((keys, -scores))]


def first_lost(predicted: Sequence[int], label: int) -> int | None:
    """After how many closings the label is no longer predicted; None: it is to the end. predicted: after 0, 1, 2, …"""
    return next((k for k, each in enumerate(predicted) if each != label), None)
