"""The gradient of the margin at the gate: to first order, what the example loses when the channel is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.sensitivities(item.own)[0]


METHOD = Method("gradient", scores)
