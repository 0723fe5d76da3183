"""Which examples are injected into which channels, all keyed by the training's seed and the number of the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memloc.data import Data
from memloc.data.arrays import I64
from memloc.seeds import hashed, stream

ANCHORS = 320  # clean examples that must keep their labels


@dataclass(frozen=True)
class Implant:
    """An example that shall get a wrong label by channels of its own.

    row: its place in the training data. label: the wrong one. channels: places in the vector of all gates, sorted.
    """

    row: int
    label: int
    channels: tuple[int, ...]


def draw(data: Data, key: tuple[int, int], count: int, total: int, each: int) -> list[Implant]:
    """`count` distinct clean examples, each with a label drawn uniformly from the others, and `each` channels of its own.

    key: the training's seed, and the number of the network. total: the number of all channels.
    """
    seed, number = key
    rows = _clean(data, key)[:count]
    shuffled = stream(seed, "injected channels", number).permutation(total)
    labels = stream(seed, "injected labels", number).integers(1, data.classes, len(rows))
    wrong = (data.y[rows] + labels) % data.classes
    mine = [shuffled[k * each : (k + 1) * each] for k in range(len(rows))]
    return [
        Implant(int(row), int(label), tuple(sorted(int(c) for c in channels)))
        for row, label, channels in zip(rows, wrong, mine, strict=True)
    ]


def anchors(data: Data, key: tuple[int, int], implants: Sequence[Implant]) -> I64:
    """The rows of up to 320 other clean examples, in a keyed order."""
    taken = {implant.row for implant in implants}
    return np.array([row for row in _clean(data, key) if row not in taken][:ANCHORS], dtype=np.int64)


def _clean(data: Data, key: tuple[int, int]) -> I64:
    rows = np.flatnonzero(~data.noisy)
    return rows[np.argsort(hashed(key[0], "injected examples", key[1], i=data.example[rows]), kind="stable")]
