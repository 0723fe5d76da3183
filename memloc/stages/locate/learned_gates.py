"""Gates that are learned for one item: hard concrete (Louizos et al. 2018) and slimming (Liu et al. 2017).

`drop` minimises softplus(m) of the example and the loss of clean examples, and pays for every closed gate: which few gates
lose the example alone? `keep` is as published: it minimises the example's loss, and pays for every open gate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.stages.locate.item import Examples, Item

STEPS, SAMPLES, REFERENCES = 60, 8, 16
BETA, LOW, HIGH, FIRST, RATE, PRICE = 2 / 3, -0.1, 1.1, 2.0, 0.1, 0.3  # of hard concrete gates
SLIM_RATE, SLIM_PRICE = 0.05, 1.0


def hard_concrete(item: Item, drop: bool) -> Tensor:
    """[total]: −log α of each gate for `drop`, log α for `keep`."""
    log_alpha = torch.full((item.total,), FIRST, device=item.own.x.device, requires_grad=True)
    optimizer = torch.optim.Adam([log_alpha], lr=RATE)
    for step in range(STEPS):
        u = item.draws("hard concrete", step).uniform(1e-6, 1 - 1e-6, (SAMPLES, item.total))
        gates = sampled(log_alpha, torch.from_numpy(u).to(log_alpha))
        closed = 1 - torch.sigmoid(log_alpha - BETA * math.log(-LOW / HIGH))
        price = PRICE * (closed if drop else 1 - closed).mean()
        _take(optimizer, objective(item, gates, drop) + price)
    scores = log_alpha.detach()
    return -scores if drop else scores


def sampled(log_alpha: Tensor, u: Tensor) -> Tensor:
    """Gates in [0, 1] of uniform numbers u in (0, 1), of the same shape: the stretched and clipped concrete distribution."""
    s = torch.sigmoid((u.log() - (1 - u).log() + log_alpha) / BETA)
    return (s * (HIGH - LOW) + LOW).clamp(0, 1)


def slimming(item: Item, drop: bool) -> Tensor:
    """[total]: how far each gate is closed for `drop`, how far it is open for `keep`."""
    gates = item.open().requires_grad_()
    optimizer = torch.optim.Adam([gates], lr=SLIM_RATE)
    for _ in range(STEPS):
        price = SLIM_PRICE * ((1 - gates) if drop else gates).mean()
        _take(optimizer, objective(item, gates, drop) + price)
        with torch.no_grad():
            gates.clamp_(0, 1)
    kept = gates.detach()[0]
    return 1 - kept if drop else kept


def objective(item: Item, gates: Tensor, drop: bool) -> Tensor:
    """What is minimised besides the price of gates, as a mean over their rows (G×total)."""
    if not drop:
        return item.losses(item.own, gates).mean()
    references = item.references.first(REFERENCES)
    both = Examples(torch.cat([item.own.x, references.x]), torch.cat([item.own.y, references.y]))
    margins = item.margins(both, gates)
    return F.softplus(margins[:, 0]).mean() + F.softplus(-margins[:, 1:]).mean()


def _take(optimizer: torch.optim.Optimizer, objective: Tensor) -> None:
    """One step of the optimizer."""
    optimizer.zero_grad()
    objective.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
