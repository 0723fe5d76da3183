"""Neuron flipping as the published research code goes about it: a copy of the model for every example, and gradients of
all weights over five noisy copies of a whole reference batch at every step. Its cost, not its choices, is the point here.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference.examples import Examples

COPIES = 5


def search(network: nn.Module, examples: Examples, i: int, batches: list[Tensor], steps: int) -> int:
    """Zeroes filters and weights of a copy until example i is predicted wrong, for at most `steps`; how many.

    batches: the rows of the reference batch at each step.
    """
    x, y = examples.x, examples.y
    model = deepcopy(network).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    for step in range(steps):
        z = torch.stack([model(noisy(x[i : i + 1])) for _ in range(COPIES)]).mean(dim=0)
        if int(z.argmax()) != int(y[i]):
            return step
        rows = batches[step]
        reference = torch.stack([model(noisy(x[rows])) for _ in range(COPIES)]).mean(dim=0)
        loss = F.cross_entropy(reference, y[rows]) - F.cross_entropy(z, y[i : i + 1])
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        zero_the_most_critical(model)
    return steps


def noisy(x: Tensor) -> Tensor:
    u = torch.randn_like(x)
    scale: Tensor = 0.01 * x.norm() / u.norm()
    return x + scale * u


@torch.no_grad()
def zero_the_most_critical(model: nn.Module) -> None:
    """The filter, scalar or linear weight with the largest gradient times minus its value."""
    best: tuple[float, Tensor, int] | None = None
    for parameter in model.parameters():
        assert parameter.grad is not None
        effect = -(parameter.grad * parameter)
        effect = effect.flatten(1).sum(dim=1) if parameter.ndim == 4 else effect.flatten()
        value, index = effect.max(dim=0)
        if best is None or float(value) > best[0]:
            best = (float(value), parameter, int(index))
    assert best is not None
    _, critical, at = best
    if critical.ndim == 4:
        critical[at] = 0.0
    else:
        critical.view(-1)[at] = 0.0
