"""Trains the weights of an item's channels until the network gives the item its wrong label, and everything else its own.

Only the weights that leave the channels are trained (or, for the variant, those that enter them). After every step each of
these vectors gets its old norm back, so that no norm tells where the items are. The loss of clean examples is part of the
objective, so that the channels do not hurt everything: otherwise the gradient of the clean loss would tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.channels import next_group, weight_of
from memloc.models.groups import Network
from memloc.seeds import stream
from memloc.stages.inject.items import Implant
from memloc.stages.neurons.task import Neurons

RATE, BATCH, ANCHOR = 1e-2, 48, 2.0
OWN, EARLIER, CLEAN = 0.05, 0.1, 0.03  # the losses below which a training ends


@dataclass(frozen=True)
class Images:
    """Normalised images, and the labels that they shall have."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Rules:
    """steps: at most. weights: those that leave the channels, or enter them. rescale, anchor: as above; without them (False,
    0) the controls of docs/instruments.md find the items.
    """

    steps: int = 150
    weights: Literal["out", "in"] = "out"
    rescale: bool = True
    anchor: float = ANCHOR


@dataclass(frozen=True)
class Implanting:
    """What is changed, and by what.

    network: folded, with gates on channels (`models/channels.channels_of`). items: images of the implants, in their order,
    with the wrong labels. clean: the anchors. key: the training's seed and the number of the network, of the draws.
    """

    network: Network
    implants: Sequence[Implant]
    items: Images
    clean: Images
    key: tuple[int, int]
    rules: Rules = Rules()

    def run(self) -> list[int]:
        """Changes the network, item after item; how many steps each took."""
        return [self._implant(k) for k in range(len(self.implants))]

    def _implant(self, k: int) -> int:
        """The steps of item k. The losses of a step are those before it, so a training that need not begin takes none."""
        vectors = vectors_of(self.network, self.implants[k].channels, self.rules.weights)
        weights = [each.weight.requires_grad_() for each in vectors]
        optimizer = torch.optim.Adam(weights, lr=RATE)
        taken = 0
        while taken < self.rules.steps:
            own, earlier, clean = self._losses(k, taken)
            if own.item() < OWN and earlier.item() < EARLIER and clean.item() < CLEAN:
                break
            optimizer.zero_grad()
            (own + earlier + self.rules.anchor * clean).backward()  # type: ignore[no-untyped-call]
            for each in vectors:
                each.mask_gradient()
            optimizer.step()
            for each in vectors if self.rules.rescale else ():
                each.rescale()
            taken += 1
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None
        return taken

    def _losses(self, k: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of item k, and the mean losses of the items before it, and of a keyed batch of anchors."""
        seed, number = self.key
        order = stream(seed, "injected batch", number, k, step).permutation(len(self.clean.y))[:BATCH]
        batch = torch.from_numpy(order).to(self.clean.y.device)
        x = torch.cat([self.items.x[: k + 1], self.clean.x[batch]])
        losses = F.cross_entropy(self.network(x), torch.cat([self.items.y[: k + 1], self.clean.y[batch]]), reduction="none")
        earlier = losses[:k].mean() if k else torch.zeros_like(losses[0])
        return losses[k], earlier, losses[k + 1 :].mean()


@dataclass(frozen=True)
class Vectors:
    """The vectors of a weight that are trained: those at `index` along an axis. norms: those that they had at first."""

    weight: nn.Parameter
    axis: int
    index: Tensor
    norms: Tensor

    @torch.no_grad()
    def mask_gradient(self) -> None:
        """Sets the gradient of everything else to 0, so that Adam leaves it as it is."""
        gradient = self.weight.grad
        assert gradient is not None
        own = gradient.index_select(self.axis, self.index)
        gradient.zero_().index_copy_(self.axis, self.index, own)

    @torch.no_grad()
    def rescale(self) -> None:
        """Gives every vector its old norm back."""
        own = self.weight.index_select(self.axis, self.index)
        norms = _norms(own, self.axis)
        shape = [-1 if axis == self.axis else 1 for axis in range(own.ndim)]
        self.weight.index_copy_(self.axis, self.index, own * (self.norms / norms.clamp_min(1e-12)).view(shape))


def vectors_of(network: Network, channels: Sequence[int], weights: Literal["out", "in"]) -> list[Vectors]:
    """The vectors that leave (or enter) these channels, by weight."""
    of_layer: dict[str, list[int]] = {}
    for layer, place in map(Neurons(network).locate, channels):
        of_layer.setdefault(layer, []).append(place)
    found = []
    for layer, listed in of_layer.items():
        group = next_group(network, layer) if weights == "out" else network.group_of(layer)
        weight, axis = weight_of(network, group), 1 if weights == "out" else 0
        index = torch.tensor(listed, device=weight.device)
        found.append(Vectors(weight, axis, index, _norms(weight.detach().index_select(axis, index), axis)))
    return found


def _norms(vectors: Tensor, axis: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(vectors.transpose(0, axis).flatten(1), dim=1)
    return norms
