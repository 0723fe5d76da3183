"""Gradient accounting, plainly: a forward and a backward pass per set and batch."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.reference.examples import Examples
from memloc.models.groups import Network


def set_gradients(
    network: Network,
    examples: Examples,
    order: Sequence[Tensor],
    members: Sequence[Tensor],
    batch_statistics: bool = True,
) -> list[dict[str, Tensor]]:
    """(1/n) Σ over each set of ∇ℓ_i as {parameter: gradient}.

    order: batches of rows. members: bool [n], one per set.
    """
    network = deepcopy(network)  # running statistics move below
    network.train(batch_statistics)
    x, y, out = examples.x, examples.y, []
    for members_of_set in members:
        network.zero_grad()
        for rows in order:
            chosen = members_of_set[rows]
            if not chosen.any():
                continue
            z = network(x[rows], masks=examples.masks(rows))
            loss = F.cross_entropy(z[chosen].to(torch.float64), y[rows][chosen], reduction="sum") / len(y)
            loss.backward()  # type: ignore[no-untyped-call]
        out.append({k: torch.zeros_like(p) if p.grad is None else p.grad.clone() for k, p in network.named_parameters()})
    return out
