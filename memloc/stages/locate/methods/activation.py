"""How strongly a channel is on: its mean |activation| for the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.strengths()[0]


METHOD = Method("activation", scores)
