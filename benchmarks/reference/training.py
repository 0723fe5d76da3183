"""Training, plainly: a bare loop on tensors in memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_epoch(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, batches: Sequence[Tensor]
) -> None:
    """One epoch over the batches (rows of the normalised images x)."""
    network.train()
    for rows in batches:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@torch.inference_mode()
def accuracy(network: nn.Module, x: Tensor, y: Tensor, group: int = 256) -> float:
    """Evaluation mode."""
    network.eval()
    logits = torch.cat([network(x[i : i + group]) for i in range(0, len(x), group)])
    return float((logits.argmax(dim=1) == y).to(torch.float64).mean())
