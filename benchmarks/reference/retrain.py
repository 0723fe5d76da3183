"""Layer retraining, plainly: one group at a time, every pass through the whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.models.groups import Network

Masks = Callable[[Tensor, int, int], Mapping[str, Tensor] | None]


def retrain_group(
    final: Network,
    start: Mapping[str, Tensor],
    group: str,
    x: Callable[[int], Tensor],
    y: Tensor,
    batches: Sequence[Sequence[Tensor]],
    rates: Sequence[float],
    momentum: float,
    weight_decay: float,
    watch: Callable[[Network], None],
    masks: Masks = lambda rows, epoch, step: None,
    all_gradients: bool = False,
) -> Network:
    """The network after training the group anew, from `start`, on the batches.

    x: epoch -> normalised images. batches: rows, one list per epoch. rates: one per step. watch: sees the network in
    evaluation mode before the first and after each epoch. masks: of (rows, epoch, step of the epoch), in training.
    all_gradients: backward through the whole network, as where freezing means only that the optimiser does not have the
    other parameters.
    """
    network = deepcopy(final)
    own = {name: t for name, t in start.items() if name in network.parameters_of(group)}
    network.load_state_dict({**network.state_dict(), **own})
    parameters = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(all_gradients or name in own)
        parameters += [parameter] if name in own else []
    optimizer = torch.optim.SGD(parameters, lr=1.0, momentum=momentum, weight_decay=weight_decay)
    watch(network.eval())
    step = 0
    for epoch, of_epoch in enumerate(batches, 1):
        network.train()
        images = x(epoch)
        for k, rows in enumerate(of_epoch):
            optimizer.param_groups[0]["lr"] = rates[step]
            step += 1
            network.zero_grad()
            F.cross_entropy(network(images[rows], masks=masks(rows, epoch, k)), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        watch(network.eval())
    return network
