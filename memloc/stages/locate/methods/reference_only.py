"""Control: the gradient of the mean loss of clean examples. It knows nothing of the example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memloc.stages.locate.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


def scores(item: Item) -> Tensor:
    import torch

    gates = item.open().requires_grad_()
    return torch.autograd.grad(item.losses(item.references, gates).mean(), gates)[0][0]


METHOD = Method("reference_only", scores, control=True)
