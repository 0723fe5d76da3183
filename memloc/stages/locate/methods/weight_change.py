"""How far the weights that write and read the channel have moved since before the example was memorized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.weight_changes()


METHOD = Method("weight_change", scores)
