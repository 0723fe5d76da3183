"""|activation · gradient|: the size of the first-order effect of closing the channel, whatever its sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    # The gradient of a gate already is the sum of activation times gradient over the channel.
    return item.sensitivities(item.own)[0].abs()


METHOD = Method("activation_gradient", scores)
