"""Control: the norm of the weights that read the channel. It knows nothing of the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.outgoing_norms()


METHOD = Method("norm_out", scores, control=True)
