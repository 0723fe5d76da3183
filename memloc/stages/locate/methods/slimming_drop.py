"""Slimming (Liu et al. 2017), turned round: gates that learn to lose the example, and nothing else, by closing few."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    from memloc.stages.locate import learned_gates

    return learned_gates.slimming(item, drop=True)


METHOD = Method("slimming_drop", scores)
