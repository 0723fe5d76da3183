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

from benchmarks.reference.examples import Examples
from memloc.models.groups import Network

TOGETHER = 64  # examples in one pass


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


@dataclass(frozen=True)
class PlainSearch:
    """Neuron flipping on one network. reference: how many images of a batch estimate L_ref; None for `definition`."""

    network: Network
    examples: Examples
    draws: Draws
    reference: int | None = None

    def run(self, i: int, max_neurons: int) -> Outcome:
        """Closes gates until F̄ no longer predicts y[i], or `max_neurons` are closed."""
        dtype = self.examples.x.dtype
        gates = {layer: torch.ones(1, *shape, dtype=dtype) for layer, shape in self.network.neurons.items()}
        outcome = Outcome()
        for step in range(max_neurons + 1):
            leaves = {layer: gate.clone().requires_grad_() for layer, gate in gates.items()}
            z = self.smoothed([i], step, leaves)
            if int(z.argmax()) != int(self.examples.y[i]):
                outcome.new_class = int(z.argmax())
                return outcome
            still_open = sum(int((gate > 0).sum()) for gate in gates.values())
            if step == max_neurons or not still_open:
                outcome.censored = True
                return outcome
            layer, index = largest_open(self.scores(i, z, step, leaves), gates)
            gates[layer].view(-1)[index] = 0.0
            outcome.closed.append((layer, index))
        raise AssertionError("unreachable")

    def scores(self, i: int, z: Tensor, step: int, gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∂(L_ref − ℓ(F̄(x_i), y_i))/∂gate by layer; z: F̄(x_i) under these gates, which take gradients."""
        y = self.examples.y
        score = gradient(-F.cross_entropy(z, y[[i]]), gates)
        batch = list(self.draws.batch(step))
        if self.reference is None:
            of_batch = self.smoothed(batch, step, gates)
            add(score, gradient(F.cross_entropy(of_batch, y[batch]), gates))
            return score
        few, everything = batch[: self.reference], list(range(len(y)))
        everything_open = {layer: torch.ones_like(gate).requires_grad_() for layer, gate in gates.items()}
        add(score, self.plain_gradient(few, gates))
        add(score, self.plain_gradient(everything, everything_open))
        add(score, self.plain_gradient(few, everything_open), sign=-1.0)
        return score

    def smoothed(self, rows: Sequence[int], step: int, gates: Mapping[str, Tensor]) -> Tensor:
        """F̄ of the rows: mean logits over the noisy copies, float64."""
        copies, logits = self.draws.noisy(rows, step), []
        for start in range(0, len(rows), TOGETHER):
            some, x = rows[start : start + TOGETHER], copies[start : start + TOGETHER]
            factors = self.examples.masks(torch.tensor(some).repeat_interleave(x.shape[1]))
            z = self.network(x.flatten(0, 1), gates=gates, masks=factors)
            logits.append(z.to(torch.float64).view(len(some), x.shape[1], -1).mean(dim=1))
        return torch.cat(logits)

    def plain_gradient(self, rows: Sequence[int], gates: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∂/∂gate of the mean loss without noise."""
        x, y, masks = self.examples.x, self.examples.y, self.examples.masks
        z = self.network(x[list(rows)], gates=gates, masks=masks(torch.tensor(rows)))
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
def accuracy_after(network: Network, examples: Examples, rows: Sequence[int], closed: Sequence[tuple[str, int]]) -> float:
    """Accuracy on the rows with these neurons closed, one pass over all of them."""
    x, y = examples.x[list(rows)], examples.y[list(rows)]
    gates = {layer: torch.ones(1, *shape, dtype=x.dtype) for layer, shape in network.neurons.items()}
    for layer, index in closed:
        gates[layer].view(-1)[index] = 0.0
    z = network(x, gates=gates, masks=examples.masks(torch.tensor(rows)))
    return float((z.argmax(dim=1) == y).to(torch.float64).mean())
