"""Layer retraining, plainly: one group at a time, every pass through the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.models.groups import Network

Masks = Callable[[Tensor, int, int], Mapping[str, Tensor] | None]


def no_masks(rows: Tensor, epoch: int, step: int) -> None:
    """The dropout factors of a network without dropout."""


@dataclass(frozen=True)
class Recipe:
    """What a group is trained on, and how.

    x: epoch -> normalised images. y: int64 [n]. batches: rows, one list per epoch. rates: one per step. masks: of (rows,
    epoch, step of the epoch). frozen: evaluation mode from epoch 2 on. all_gradients: backward through the whole network, as
    where freezing means only that the optimiser does not have the other parameters.
    """

    x: Callable[[int], Tensor]
    y: Tensor
    batches: Sequence[Sequence[Tensor]]
    rates: Sequence[float]
    momentum: float
    weight_decay: float
    masks: Masks = no_masks
    frozen: bool = False
    all_gradients: bool = False


def retrain_group(
    final: Network, start: Mapping[str, Tensor], group: str, recipe: Recipe, watch: Callable[[Network], None]
) -> Network:
    """The network after training the group anew, from `start`.

    watch: sees the network in evaluation mode before the first and after each epoch.
    """
    network = deepcopy(final)
    own = set(network.parameters_of(group))
    parameters = []
    for name, parameter in network.named_parameters():
        if name in own:
            parameter.data.copy_(start[name])
            parameters.append(parameter)
        parameter.requires_grad_(recipe.all_gradients or name in own)
    optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    watch(network.eval())
    step = 0
    for epoch, of_epoch in enumerate(recipe.batches, 1):
        network.train(not recipe.frozen or epoch == 1)
        images = recipe.x(epoch)
        for k, rows in enumerate(of_epoch):
            optimizer.param_groups[0]["lr"] = recipe.rates[step]
            step += 1
            network.zero_grad()
            z = network(images[rows], masks=recipe.masks(rows, epoch, k))
            F.cross_entropy(z, recipe.y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        watch(network.eval())
    return network
