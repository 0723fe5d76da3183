"""The gradient of the example less the mean gradient of clean examples with the same label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    if not len(item.same_label):
        return item.sensitivities(item.own)[0]
    return item.sensitivities(item.own)[0] - item.sensitivities(item.same_label).mean(dim=0)


METHOD = Method("contrast_label", scores)
