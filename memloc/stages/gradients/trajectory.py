"""Gradients along a training's own updates (science.md, Gradient accounting, `at: trajectory`; paper Figure 10).

The training is done again from θ^0, and every step's gradient is split into the parts of the sets of examples. After every
epoch the weights must equal those of the checkpoint, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.errors import ReplayError
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import Epoch, train
from memloc.stages.training.transfer import to_device


def trajectory(
    inputs: Inputs, last: int, members: np.ndarray, by_batch: bool = False
) -> Iterator[tuple[int, Network, list[list[Tensor]]]]:
    """(epoch, network, Σ over its updates of the gradient of each set) for the epochs 1..last.

    An update on batch b with weights θ gives a set the gradient (|b|/n)·(1/|b|) Σ_{i in set and b} ∇ℓ_i(θ), in the mode
    of that step (evaluation mode from epoch 2 on under `batch_norm: frozen`), under the masks and the augmentation of the
    training. The sets share a forward pass, so the gradients of S_c and S_n add up to that of the training.

    Args:
        members: bool [sets, n].
        by_batch: (1/|b|) Σ instead, without the |b|/n.

    Returns:
        The network, to name the parameters by; the sums [set][parameter], in the order of `network.parameters()`, float32.

    Raises:
        ReplayError: where an epoch's weights are not those of its checkpoint.
    """
    data = replace(inputs.data, x_test=inputs.data.x_test[:0], y_test=inputs.data.y_test[:0])  # test accuracy is not needed
    steps = Steps(inputs, members, by_batch)
    with torch.device("meta"):  # for its parameters' names and shapes
        named = build(inputs.train, inputs.data.shape, inputs.data.classes)
    for epoch in train(inputs.train, data, inputs.device, observe=steps.add):
        epoch.wait()
        _check(inputs, epoch)
        if epoch.epoch:
            yield epoch.epoch, named, steps.sums
        steps.sums = [[torch.zeros(p.shape, device=inputs.device) for p in named.parameters()] for _ in members]
        if epoch.epoch == last:
            return


class Steps:
    """Adds up the gradients of the sets, step by step; sums: [set][parameter]."""

    def __init__(self, inputs: Inputs, members: np.ndarray, by_batch: bool) -> None:
        self.sums: list[list[Tensor]] = []
        self.y = to_device(torch.from_numpy(inputs.data.y), inputs.device)
        self.by_batch = by_batch
        # A set without members has no gradient to compute.
        self.there = [s for s, of_set in enumerate(members) if of_set.any()]
        self.weights = to_device(torch.from_numpy(members.astype(np.float64)), inputs.device)
        if not by_batch:
            self.weights /= members.shape[1]

    def add(self, network: Network, rows: Tensor, z: Tensor) -> None:
        """Adds one step's gradients. rows: int64 [b], the batch. z: its logits b×K, with their graph, before the update."""
        # Float64 at the logits: p_y − 1 of a memorized example vanishes in float32.
        losses = F.cross_entropy(z.to(torch.float64), self.y[rows], reduction="none")
        if self.by_batch:
            losses = losses / len(rows)
        parameters = list(network.parameters())
        for s in self.there:
            gradients = torch.autograd.grad(losses, parameters, self.weights[s, rows], retain_graph=True)
            torch._foreach_add_(self.sums[s], list(gradients))


def _check(inputs: Inputs, epoch: Epoch) -> None:
    committed = inputs.weights(epoch.epoch)
    # The bytes are compared, because NaN (of a training that diverged) is not equal to itself.
    differ = [name for name, value in epoch.weights.items() if _bytes(value) != _bytes(committed[name])]
    if differ:
        raise ReplayError(
            f"epoch {epoch.epoch}: training again gave other weights than the checkpoint's ({differ[0]} and "
            f"{len(differ) - 1} more); gradients along a trajectory are computed on the kind of device that trained it"
        )


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()
