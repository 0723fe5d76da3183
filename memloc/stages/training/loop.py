"""Training (science.md, Training): SGD (or AdamW) with per-example dynamics, resumable after any epoch to the last bit.

`stop_after_perfect: N` ends it after N epochs in a row in which every example's training pass was right. The later epochs
repeat that state, so every epoch 0..T has a checkpoint. `stop` ends it for good: no later epoch has one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.data.augment import augment, shifts
from memloc.data.device import OnDevice, images
from memloc.models.build import build
from memloc.models.dropouts import OwnDropouts, build_dropout
from memloc.models.groups import Network
from memloc.models.inference import accuracy, logits, set_mean
from memloc.models.kept import Masks
from memloc.models.memory_format import channels_last
from memloc.stages.training.batches import batches
from memloc.stages.training.dynamics import Dynamics
from memloc.stages.training.forward import forward_pass
from memloc.stages.training.graphed import GraphedGradients, graphed_steps
from memloc.stages.training.mode import StepMasks, epoch_mode
from memloc.stages.training.optimizer import Optimizer, optimizer_of
from memloc.stages.training.steps import learning_rate, steps_per_epoch
from memloc.stages.training.transfer import HostCopies, to_device

# Called in every step, between the forward pass and the update: the network, the batch's rows (int64), their logits.
Observe: TypeAlias = Callable[[Network, Tensor, Tensor], None]


@dataclass(frozen=True)
class Epoch:
    """The state after an epoch (0: initialisation). All tensors on the CPU and owned; on a GPU valid after `wait`.

    weights: the network's `state_dict`. momentum: the optimizer's state, of SGD {parameter: its momentum buffer}. dynamics:
    see `Dynamics`.
    row: the epoch's row of table `epochs` (None for epoch 0, and for the epochs after the training stopped). copies: the
    transfers of the tensors from a GPU, if any. scaler: the gradient scaler's `state_dict` (`fp16` only).
    """

    epoch: int
    weights: dict[str, Tensor]
    momentum: dict[str, Tensor]
    dynamics: dict[str, Tensor]
    row: dict[str, Any] | None = None
    copies: HostCopies | None = None
    scaler: dict[str, float] = field(default_factory=dict)

    def wait(self) -> None:
        """Returns once the tensors are valid; from any thread."""
        if self.copies is not None:
            self.copies.wait()


class Training:
    """A training between two of its epochs: the network, its optimizer, and the dynamics of its training passes.

    weights: the first weights, {name: values}; None: the initialisation by the configuration's seed.
    """

    def __init__(
        self, config: TrainConfig, data: Data, device: torch.device, weights: Mapping[str, Tensor] | None = None
    ) -> None:
        self.config, self.data, self.device = config, data, device
        self.on_device = OnDevice(data, device)
        network = build(config, data.shape, data.classes)
        if weights is None:
            network.initialise(config.seed)
        else:
            network.load_state_dict(dict(weights))
        self.network: Network = channels_last(network.to(device))
        self.dropout = build_dropout(config, network.sites, data.example, device)
        self.dropout.constrain(self.network)
        self.masks = StepMasks(self.dropout, OwnDropouts(self.network, config.seed, device))
        self.dynamics = Dynamics(config, len(data.y), data.classes, device)
        self.optimizer, self.scaler = _optimizer(config, self.network, device)
        self.forward = forward_pass(config, self.network, device)
        self.graphed = GraphedGradients(self.network, config.batch_size)

    def go_on(self, after: Epoch) -> None:
        """Takes over everything, besides the weights, on which the next epoch depends."""
        for name, values in after.dynamics.items():
            self.dynamics.values[name].copy_(values)
        self.optimizer.load(self.network.named_parameters(), after.momentum)
        if self.scaler is not None:
            self.scaler.load_state_dict(after.scaler)

    def state(self, epoch: int, row: dict[str, Any] | None = None) -> Epoch:
        """The present state. Its copies are under way."""
        momentum = self.optimizer.tensors(self.network.named_parameters())
        copies = HostCopies(self.device)
        weights, momentum, dynamics = (
            copies.take(tensors) for tensors in (self.network.state_dict(), momentum, self.dynamics.values)
        )
        return Epoch(epoch, weights, momentum, dynamics, row, copies, self.scaler.state_dict() if self.scaler else {})

    def train_epoch(self, epoch: int, observe: Observe | None = None) -> dict[str, Any]:
        """One epoch, and the evaluation after it; returns its row of table `epochs`, without `seconds`."""
        rate, z = self.pass_over(epoch, observe)
        loss, correct = self.dynamics.update(epoch, z, self.on_device.y)
        return {
            "epoch": epoch,
            "lr": rate,
            "loss": float(loss.mean()),
            "clean_acc": set_mean(correct, ~self.on_device.noisy),
            "noisy_acc": set_mean(correct, self.on_device.noisy),
            "test_acc": self._test_accuracy(),
        }

    def pass_over(self, epoch: int, observe: Observe | None = None) -> tuple[float, Tensor]:
        """The updates of one epoch, without a host synchronisation.

        Returns (rate of the last step, logits n×K float32 of each example before the update of its batch).
        """
        config, n = self.config, len(self.data.y)
        seen, cut = [], batches(config, n, epoch, self.device)
        per_epoch = steps_per_epoch(n, config.batch_size)
        images_of, mode = self._images(epoch), epoch_mode(config, epoch)
        self.network.train(mode.train)
        rate = config.lr
        for k, rows in enumerate(cut):
            rate = learning_rate(config, (epoch - 1) * per_epoch + k, config.epochs * per_epoch, per_epoch)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            seen.append(self._step(rows, images_of(rows), self.masks.at(mode, rows, epoch, k), observe))
        # Gathered once: writes by index would be sorted in every step, where they must be deterministic.
        return rate, torch.cat(seen)[torch.cat(cut).argsort()]

    def _images(self, epoch: int) -> Callable[[Tensor], Tensor]:
        """Rows to normalised images, augmented as in this epoch."""
        kind = self.config.augment
        if kind == "none":
            return self.on_device.batch
        of_epoch = shifts(kind, self.data.example, *self.data.shape[1:], self.config.seed, epoch)
        shift = to_device(of_epoch, self.device)
        return lambda rows: images(augment(self.on_device.x[rows], shift[rows]))

    def _step(self, rows: Tensor, x: Tensor, masks: Masks | None, observe: Observe | None) -> Tensor:
        """One update; returns the batch's logits before it, float32."""
        y = self.on_device.y[rows]
        if graphed_steps.is_on() and observe is None and self.scaler is None and not self.config.compile:
            z = self.graphed(self._gradients, x, y, masks)
        else:
            z = self._gradients(x, y, masks, None if observe is None else partial(observe, self.network, rows))
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)  # type: ignore[arg-type]
            self.scaler.update()
        self.dropout.constrain(self.network)
        return z.float()

    def _gradients(
        self, x: Tensor, y: Tensor, masks: Masks | None, observe: Callable[[Tensor], None] | None = None
    ) -> Tensor:
        """Gives every parameter its gradient; returns the batch's logits."""
        with autocast(self.config, self.device):
            z, loss = self.forward(x, y, masks)
        if observe is not None:
            observe(z)
        self.optimizer.zero_grad()
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]
        return z.detach()

    def _test_accuracy(self) -> float | None:
        """Test accuracy in evaluation mode and mask mode plain (example-tied: scaled). None without test examples."""
        if not len(self.on_device.y_test):
            return None
        mask_mode = "scaled" if self.config.example_tied else "plain"
        z = logits(self.network, self.on_device.x_test, lambda rows: self.dropout.evaluation(mask_mode, rows))
        return accuracy(z, self.on_device.y_test)


def train(
    config: TrainConfig,
    data: Data,
    device: torch.device,
    after: Epoch | None = None,
    start: Mapping[str, Tensor] | None = None,
    observe: Observe | None = None,
) -> Iterator[Epoch]:
    """Trains, yielding the state after initialisation (epoch 0) and after every epoch 1..T, or to where `stop` ends it.

    Args:
        config: resolved.
        data: what the training sees.
        device: where to compute; the results are bit-equal for the same kind of device and library versions.
        after: continue after this state instead of from the start; the rest is bit-identical to an undisturbed run.
        start: weights to start from instead of an initialisation.
        observe: is called in every step, while the graph of the logits is there. It does not change the training.
    """
    training = Training(config, data, device, after.weights if after else start)
    if after is None:
        state = training.state(0)
        yield state
    else:
        training.go_on(after)
        state = after
    rule = config.stop_rule
    for epoch in range(state.epoch + 1, config.epochs + 1):
        if epoch > training.dynamics.stop():
            state = replace(state, epoch=epoch, row=None)
        else:
            state = training.state(epoch, training.train_epoch(epoch, observe))
        yield state
        if rule is not None and rule.ends(state.row):
            return


def _optimizer(config: TrainConfig, network: Network, device: torch.device) -> tuple[Optimizer, torch.amp.GradScaler | None]:
    """The optimizer; for `fp16` with a scaler of the loss, which leaves out an update whose gradients have overflowed."""
    if config.precision != "fp16":
        return optimizer_of(config, network.parameters(), config.lr), None
    # Fused: the update itself checks whether gradients have overflowed, so the host does not wait for that.
    optimizer = optimizer_of(config, network.parameters(), config.lr, fused=True)
    optimizer.prepare()  # if the first update is left out, the state would otherwise be uninitialised memory
    return optimizer, torch.amp.GradScaler(device.type)


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """A context with the precision of the forward pass, if it is not that of the parameters."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
