"""Chance: keyed uniform numbers. No truth may reward it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    import torch

    return torch.from_numpy(item.draws("random").random(item.total))


METHOD = Method("random", scores, control=True)
