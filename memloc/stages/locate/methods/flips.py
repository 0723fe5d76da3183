"""The greedy search of Maini et al. (2023): the channels that it closes, in order, then all others by its first gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    closed, gradient = item.search()
    scores = gradient.double().clone()
    for place, neuron in enumerate(reversed(closed), start=1):
        scores[neuron] = gradient.max() + place
    return scores


METHOD = Method("flips", scores)
