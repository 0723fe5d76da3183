"""Mean |activation| times the norm of the weights that read the channel (Chang et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    return item.strengths()[0] * item.outgoing_norms()


METHOD = Method("activation_norm", scores)
