"""Gradients along a training's own updates (science.md, Gradient accounting, `at: trajectory`; paper §4, Figures 1, 2).

An epoch is trained again from the weights and the momentum before it, and every step's gradient is split into the parts of
the sets of examples. The epoch must end at the weights of its checkpoint, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.errors import ReplayError
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.stages.gradients.parameters import trained
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import Epoch, train
from memloc.stages.training.transfer import to_device


def trajectory(
    inputs: Inputs, epochs: Sequence[int], members: np.ndarray, by_batch: bool = False
) -> Iterator[tuple[int, Network, list[list[Tensor]] | None]]:
    """(epoch, network, Σ over its updates of the gradient of each set) for each of the epochs.

    An update on batch b with weights θ gives a set the gradient (|b|/n)·(1/|b|) Σ_{i in set and b} ∇ℓ_i(θ), in the mode
    of that step (evaluation mode from epoch 2 on under `batch_norm: frozen`), under the masks and the augmentation of the
    training. The sets share a forward pass, so the gradients of S_c and S_n add up to that of the training.

    An epoch begins at the nearest state before it, which is the state after the epoch before if the store has it. Epochs
    between are trained again too.

    Args:
        epochs: from 1 on, rising.
        members: bool [sets, n].
        by_batch: (1/|b|) Σ instead, without the |b|/n.

    Returns:
        The network, to name the parameters by; the sums [set][parameter], in the order of `trained(network)`, float32. None:
        the epoch has no updates, because `stop_after_perfect` has ended the training before it.

    Raises:
        ReplayError: an epoch does not end at its checkpoint.
    """
    steps = Steps(inputs, members, by_batch)
    with torch.device("meta"):  # for its parameters' names and shapes
        named = build(inputs.train, inputs.data.shape, inputs.data.classes)
    reached = -1
    course: Iterator[Epoch] = iter(())
    for t in epochs:
        state = _nearest(inputs, reached + 1, t)
        if state is not None or reached < 0:
            reached, course = state.epoch if state else 0, _course(inputs, steps, state)
        for epoch in range(reached + 1, t + 1):
            steps.begin([list(trained(named).values()) for _ in members], observing=epoch == t)
            _check(inputs, next(course))
        reached = t
        yield t, named, steps.sums if steps.count else None


def _nearest(inputs: Inputs, first: int, t: int) -> Epoch | None:
    """The newest intact state after one of the epochs first..t−1."""
    for epoch in sorted((e for e in inputs.history.states() if max(1, first) <= e < t), reverse=True):
        if (state := inputs.history.state(epoch)) is not None:
            return state
    return None


def _course(inputs: Inputs, steps: Steps, after: Epoch | None) -> Iterator[Epoch]:
    """The epochs of the training that come after a state, or from epoch 1 on; `steps` sees their steps."""
    data = replace(inputs.data, x_test=inputs.data.x_test[:0], y_test=inputs.data.y_test[:0])  # test accuracy is not needed
    # The training has not ended before these epochs. Its rule is about mislabeled examples, and `noisy` may be other ones.
    config = inputs.train.model_copy(update={"stop": None})
    course = train(config, data, inputs.device, after, observe=steps.add)
    if after is None:
        _check(inputs, next(course))
    return course


class Steps:
    """Adds up the gradients of the sets, step by step; sums: [set][parameter]. count: the steps in them."""

    def __init__(self, inputs: Inputs, members: np.ndarray, by_batch: bool) -> None:
        self.sums: list[list[Tensor]] = []
        self.observing, self.count = False, 0
        self.y = to_device(torch.from_numpy(inputs.data.y), inputs.device)
        self.by_batch = by_batch
        # A set without members has no gradient to compute.
        self.there = [s for s, of_set in enumerate(members) if of_set.any()]
        self.weights = to_device(torch.from_numpy(members.astype(np.float64)), inputs.device)
        if not by_batch:
            self.weights /= members.shape[1]

    def begin(self, shapes: Sequence[Sequence[Tensor]], observing: bool) -> None:
        """Begins an epoch. shapes: [set][parameter]. observing: whether its gradients are split."""
        self.observing, self.count = observing, 0
        self.sums = [[_zeros(p.shape, self.y.device) for p in of_set] for of_set in shapes] if observing else []

    def add(self, network: Network, rows: Tensor, z: Tensor) -> None:
        """Adds one step's gradients. rows: int64 [b], the batch. z: its logits b×K, with their graph, before the update."""
        if not self.observing:
            return
        self.count += 1
        # Float64 at the logits: p_y − 1 of a memorized example vanishes in float32.
        losses = F.cross_entropy(z.to(torch.float64), self.y[rows], reduction="none")
        if self.by_batch:
            losses = losses / len(rows)
        parameters = list(trained(network).values())
        for s in self.there:
            gradients = torch.autograd.grad(
                losses, parameters, self.weights[s, rows], retain_graph=True, materialize_grads=True
            )
            torch._foreach_add_(self.sums[s], list(gradients))


def _zeros(shape: torch.Size, device: torch.device) -> Tensor:
    """In the layout of the parameters, so that a GPU adds the gradients of all of them by one kernel."""
    layout = torch.channels_last if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, device=device, memory_format=layout).zero_()


def _check(inputs: Inputs, epoch: Epoch) -> None:
    epoch.wait()
    if not inputs.history.is_checkpoint(epoch.epoch, epoch.weights):
        raise ReplayError(
            f"epoch {epoch.epoch}: training again gave other weights than the checkpoint's; "
            "gradients along a trajectory are computed on the kind of device that trained it"
        )
