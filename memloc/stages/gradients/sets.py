"""The sets of examples whose gradients are taken: S_c, S_n, and random controls as large as S_n."""

from __future__ import annotations

import numpy as np

from memloc.seeds import stream


def example_sets(noisy: np.ndarray, y: np.ndarray, seed: int, controls: int) -> np.ndarray:
    """bool [2 + controls, n]: S_c, S_n, then S_r for each control.

    S_r is a keyed random subset of all examples. It has as many examples of each class as S_n has.

    Args:
        noisy: bool [n], the examples of S_n.
        y: int [n], the labels used in training.
    """
    drawn = [_like(noisy, y, stream(seed, "gradient control", k).permutation(len(y))) for k in range(controls)]
    return np.stack([~noisy, noisy, *drawn])


def _like(noisy: np.ndarray, y: np.ndarray, order: np.ndarray) -> np.ndarray:
    """bool [n]: of each class the first examples in this order, as many as S_n has."""
    members = np.zeros(len(y), dtype=bool)
    for label, count in zip(*np.unique(y[noisy], return_counts=True), strict=True):
        members[order[y[order] == label][:count]] = True
    return members
