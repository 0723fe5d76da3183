"""What the margin loses when the channel alone is closed (Chang et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    import torch

    closed = item.open(item.total) - torch.eye(item.total, device=item.own.x.device)
    return item.closed_margins(item.open())[0] - item.closed_margins(closed)


METHOD = Method("zero_out", scores)
