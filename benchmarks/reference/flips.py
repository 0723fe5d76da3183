"""Neuron flipping, plainly: one example at a time, and accuracy afterwards by a whole pass per example.

Reads like the definition (science.md, Neuron flipping). Draws come in from outside, so that the engine can be asked for
the same choices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.models.groups import Network

TOGETHER = 64  # examples in one pass

Masks = Callable[[Tensor], Mapping[str, Tensor] | None]


@dataclass
class Draws:
    """noisy: (rows, step) -> the noisy copies of each row's image, len(rows)×5×C×H×W. batch: step -> the rows of L_ref."""

    noisy: Callable[[Sequence[int], int], Tensor]
    batch: Callable[[int], Sequence[int]]


@dataclass
class Outcome:
    closed: list[tuple[str, int]] = field(default_factory=list)
    censored: bool = False
    new_class: int | None = None


def search(
    network: Network,
    x: Tensor,
    y: Tensor,
    i: int,
    draws: Draws,
    reference: int | None,
    max_neurons: int,
    masks: Masks = lambda rows: None,
) -> Outcome:
    """Closes gates until F̄ no longer predicts y[i]. x: normalised images; reference: None for `definition`."""
    gates = {layer: torch.ones(1, *shape, dtype=x.dtype) for layer, shape in network.neurons.items()}
    outcome = Outcome()
    for step in range(max_neurons + 1):
        leaves = {layer: gate.clone().requires_grad_() for layer, gate in gates.items()}
        z = smoothed(network, [i], draws, step, leaves, masks)
        if int(z.argmax()) != int(y[i]):
            outcome.new_class = int(z.argmax())
            return outcome
        still_open = sum(int((gate > 0).sum()) for gate in gates.values())
        if step == max_neurons or not still_open:
            outcome.censored = True
            return outcome
        score = scores(network, x, y, i, z, draws, reference, step, leaves, masks)
        layer, index = largest_open(score, gates)
        gates[layer].view(-1)[index] = 0.0
        outcome.closed.append((layer, index))
    raise AssertionError("unreachable")


def scores(
    network: Network, x: Tensor, y: Tensor, i: int, z: Tensor, draws: Draws, reference: int | None, step: int,
    gates: Mapping[str, Tensor], masks: Masks,
) -> dict[str, Tensor]:  # fmt: skip
    """∂(L_ref − ℓ(F̄(x_i), y_i))/∂gate by layer; z: F̄(x_i) under these gates, which take gradients."""
    score = gradient(-F.cross_entropy(z, y[[i]]), gates)
    batch = list(draws.batch(step))
    if reference is None:
        of_batch = smoothed(network, batch, draws, step, gates, masks)
        add(score, gradient(F.cross_entropy(of_batch, y[batch]), gates))
        return score
    few, everything = batch[:reference], list(range(len(y)))
    everything_open = {layer: torch.ones_like(gate).requires_grad_() for layer, gate in gates.items()}
    add(score, plain_gradient(network, x, y, few, gates, masks))
    add(score, plain_gradient(network, x, y, everything, everything_open, masks))
    add(score, plain_gradient(network, x, y, few, everything_open, masks), sign=-1.0)
    return score


def smoothed(
    network: Network, rows: Sequence[int], draws: Draws, step: int, gates: Mapping[str, Tensor], masks: Masks
) -> Tensor:
    """F̄ of the rows: mean logits over the noisy copies, float64."""
    copies, logits = draws.noisy(rows, step), []
    for start in range(0, len(rows), TOGETHER):
        some, x = rows[start : start + TOGETHER], copies[start : start + TOGETHER]
        factors = masks(torch.tensor(some).repeat_interleave(x.shape[1]))
        z = network(x.flatten(0, 1), gates=gates, masks=factors)
        logits.append(z.to(torch.float64).view(len(some), x.shape[1], -1).mean(dim=1))
    return torch.cat(logits)


def plain_gradient(
    network: Network, x: Tensor, y: Tensor, rows: Sequence[int], gates: Mapping[str, Tensor], masks: Masks
) -> dict[str, Tensor]:
    """∂/∂gate of the mean loss without noise."""
    z = network(x[list(rows)], gates=gates, masks=masks(torch.tensor(rows)))
    return gradient(F.cross_entropy(z.to(torch.float64), y[list(rows)]), gates)


def gradient(loss: Tensor, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(loss, list(gates.values()), retain_graph=True)
    return dict(zip(gates, found, strict=True))


def add(score: dict[str, Tensor], more: Mapping[str, Tensor], sign: float = 1.0) -> None:
    for layer in score:
        score[layer] = score[layer] + sign * more[layer]


def largest_open(score: Mapping[str, Tensor], gates: Mapping[str, Tensor]) -> tuple[str, int]:
    """(layer, index within it) of the open gate with the largest score; of equal ones the first in layer order."""
    best: tuple[float, str, int] | None = None
    for layer, values in score.items():
        for index, (value, gate) in enumerate(zip(values.flatten().tolist(), gates[layer].flatten().tolist(), strict=True)):
            if gate > 0 and (best is None or value > best[0]):
                best = (value, layer, index)
    assert best is not None
    return best[1], best[2]


@torch.no_grad()
def accuracy_after(
    network: Network, x: Tensor, y: Tensor, rows: Sequence[int], closed: Sequence[tuple[str, int]], masks: Masks
) -> float:
    """Accuracy on the rows with these neurons closed, one pass over all of them."""
    gates = {layer: torch.ones(1, *shape, dtype=x.dtype) for layer, shape in network.neurons.items()}
    for layer, index in closed:
        gates[layer].view(-1)[index] = 0.0
    z = network(x[list(rows)], gates=gates, masks=masks(torch.tensor(rows)))
    return float((z.argmax(dim=1) == y[list(rows)]).to(torch.float64).mean())
