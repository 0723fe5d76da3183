"""Control: the gradient of the margin of another memorized example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.sensitivities(item.other)[0]


METHOD = Method("other_item", scores, control=True, of_other=True)
