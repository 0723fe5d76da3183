"""Slimming (Liu et al. 2017): gates that learn to keep the example with few channels, as Chang et al. (2024) do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    from memloc.stages.locate import learned_gates

    return learned_gates.slimming(item, drop=False)


METHOD = Method("slimming_keep", scores)
