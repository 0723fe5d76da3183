"""Integrated gradients over the gates (Sundararajan et al. 2017), from all closed to all open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


STEPS = 16  # midpoints of the path


def scores(item: Item) -> Tensor:
    import torch

    midpoints = [(j + 0.5) / STEPS for j in range(STEPS)]
    return torch.stack([item.sensitivities(item.own, at)[0] for at in midpoints]).mean(dim=0)


METHOD = Method("integrated_gradients", scores)
