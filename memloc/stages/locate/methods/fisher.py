"""The squared gradient of the example over that of clean examples: selective, not merely important."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


FLOOR = 1e-3  # of the mean over gates: a channel that no reference uses divides by nothing


def scores(item: Item) -> Tensor:
    own, others = item.sensitivities(item.own)[0].square(), item.sensitivities(item.references).square().mean(dim=0)
    return own / (others + FLOOR * others.mean())


METHOD = Method("fisher", scores)
