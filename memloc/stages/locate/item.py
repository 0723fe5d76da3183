"""An item: an example in a network whose neurons are to be found, and what a method may ask of both.

A method gives one score per candidate. The gates of all candidates are one vector, as `stages/neurons/task.Neurons` has it.
G rows of gates mean G runs of the same images, each under its own gates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.models.channels import activations, incoming, outgoing
from memloc.models.gates import repeated
from memloc.models.groups import Network
from memloc.models.kept import Masks
from memloc.seeds import Key, stream
from memloc.stages.neurons.task import Neurons

TOGETHER = 256  # images in one pass at most: part of the numerics


@dataclass(frozen=True)
class Examples:
    """x: normalised images, n×C×H×W. y: int64 [n], the labels that the network was to learn."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> Examples:
        """The first n of them, or all."""
        return Examples(self.x[:n], self.y[:n])


@dataclass(frozen=True)
class Item:
    """An example and its network.

    network: its gates are the candidates; in evaluation mode, batch norms folded. before: the same network as it was before
    it memorized the example. masks: the dropout factors under which everything runs, references too; None: none. own: the
    example. references, same_label: clean examples, of any label and of the example's label. other: another memorized
    example. key: names the item in keyed draws. search: the greedy search for its neurons -> (closed neurons in order, the
    gradient at its first step).
    """

    network: Network
    before: Network
    own: Examples
    references: Examples
    same_label: Examples
    other: Examples
    key: tuple[int, *tuple[Key, ...]]
    search: Callable[[], tuple[list[int], Tensor]]
    masks: Masks | None = None

    @property
    def total(self) -> int:
        """The number of gates."""
        return Neurons(self.network).total

    def draws(self, purpose: str, *what: Key) -> np.random.Generator:
        """A generator that depends on the item and on what it is for alone."""
        seed, *rest = self.key
        return stream(seed, "locate", purpose, *rest, *what)

    def open(self, runs: int = 1) -> Tensor:
        """Gates that are all open, runs×total."""
        return torch.ones(runs, self.total, device=self.own.x.device)

    def logits(self, examples: Examples, gates: Tensor) -> Tensor:
        """G×n×K, float64, of n examples under each of G rows of gates."""
        split = Neurons(self.network).split(gates)
        z = self.network(repeated(examples.x, len(gates)), gates=split, masks=self.masks)
        runs: Tensor = z.to(torch.float64).view(len(gates), len(examples), -1)
        return runs

    def margins(self, examples: Examples, gates: Tensor) -> Tensor:
        """G×n: m = z_y − logsumexp of the other logits. The loss of an example is softplus(−m)."""
        return margins_of(self.logits(examples, gates), examples.y)

    def losses(self, examples: Examples, gates: Tensor) -> Tensor:
        """G×n: cross-entropies."""
        return F.softplus(-self.margins(examples, gates))

    def sensitivities(self, examples: Examples, at: float = 1.0) -> Tensor:
        """n×total, float64: ∂m/∂gate of each example, with every gate at a value."""
        every = []
        for x, y in zip(torch.split(examples.x, TOGETHER), torch.split(examples.y, TOGETHER), strict=True):
            gates = (self.open(len(y)) * at).requires_grad_()
            z = self.network(x, gates=Neurons(self.network).split(gates), masks=self.masks)
            every.append(torch.autograd.grad(margins_of(z.double(), y).sum(), gates)[0].double())
        return torch.cat(every) if every else self.open(0).double()

    @torch.no_grad()
    def closed_margins(self, gates: Tensor) -> Tensor:
        """[G]: m of the example under each of G rows of gates."""
        return torch.cat([self.margins(self.own, some)[:, 0] for some in torch.split(gates, TOGETHER)])

    def strengths(self, examples: Examples | None = None) -> Tensor:
        """n×total, float64: mean |activation| of each channel, of the example or of others."""
        found = activations(self.network, (examples or self.own).x, self.masks)
        layers = [found[layer].double().abs().mean(dim=(2, 3)) for layer in self.network.neurons]
        return torch.cat(layers, dim=1)

    def outgoing_norms(self) -> Tensor:
        """[total], float64: the norm of the weights that read each channel."""
        norms: Tensor = torch.linalg.vector_norm(outgoing(self.network).double(), dim=1)
        return norms

    def weight_changes(self) -> Tensor:
        """[total], float64: how far the weights that write or read each channel have moved since before."""
        pairs = [(of(self.network), of(self.before)) for of in (incoming, outgoing)]
        squares: list[Tensor] = [(now - then).double().square().sum(dim=1) for now, then in pairs]
        return torch.stack(squares).sum(dim=0).sqrt()


def margins_of(z: Tensor, y: Tensor) -> Tensor:
    """z_y − logsumexp of the other logits; z: …×n×K, y: [n]."""
    own = torch.arange(z.shape[-1], device=z.device) == y[:, None]  # no gather, whose gradient adds in any order on a GPU
    return torch.where(own, z, 0.0).sum(dim=-1) - z.masked_fill(own, float("-inf")).logsumexp(dim=-1)
