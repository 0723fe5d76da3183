"""Training (science.md, Training): SGD with per-example dynamics, resumable after any epoch to the last bit.

`stop_after_perfect: N` ends it after N epochs in a row in which every example's training pass was right. What comes after is
that state again, so that every epoch 0..T has a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.data.augment import augment, shifts
from memloc.data.device import OnDevice, images
from memloc.models.build import build
from memloc.models.dropouts import Dropout, OwnDropouts, build_dropout
from memloc.models.groups import Network
from memloc.models.inference import logits, margins, set_mean
from memloc.stages.training.batches import batches, learning_rate, steps_per_epoch
from memloc.stages.training.forward import Forward, forward_pass
from memloc.stages.training.transfer import HostCopies, to_device

# Called in every step, between the forward pass and the update: the network, the batch's rows (int64), their logits.
Observe: TypeAlias = Callable[[Network, Tensor, Tensor], None]

VERSION = 2  # raised whenever a training's numbers change; enters the id of every training


@dataclass(frozen=True)
class Epoch:
    """The state after an epoch (0: initialisation). All tensors on the CPU and owned; on a GPU valid after `wait`.

    weights: the network's `state_dict`. momentum: {parameter: SGD's momentum buffer}. dynamics: see `Dynamics`.
    row: the epoch's row of table `epochs` (None for epoch 0, and for the epochs after the training stopped). copies: what
    brings the tensors here, if anything does. scaler: the gradient scaler's `state_dict` (`fp16` only).
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


class Dynamics:
    """Running per-example statistics over the training passes, [n] each, on the device.

    Every example's logits come from its training pass, before the update (science.md, Training).
    """

    INTEGERS = ("last_wrong", "forgetting", "was_correct", "ever_correct")
    SUMS = ("margin", "loss", "el2n", "prob", "final_loss")

    def __init__(self, config: TrainConfig, n: int, device: torch.device) -> None:
        self.early = max(1, round(config.epochs / 5))
        self.epochs = config.epochs
        self.patience = config.stop_after_perfect
        self.values = {k: torch.zeros(n, dtype=torch.int64, device=device) for k in self.INTEGERS}
        self.values |= {k: torch.zeros(n, dtype=torch.float64, device=device) for k in self.SUMS}

    def update(self, epoch: int, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in one epoch's logits (n×K float32); returns (loss float64 [n], correct bool [n])."""
        z = z.to(torch.float64)
        loss = F.cross_entropy(z, y, reduction="none")
        margin = margins(z, y)
        correct = z.argmax(dim=1) == y
        v = self.values
        v["forgetting"] += (v["was_correct"] == 1) & ~correct
        v["last_wrong"].masked_fill_(~correct, epoch)
        v["was_correct"].copy_(correct)
        v["ever_correct"] |= correct
        v["margin"] += margin
        v["loss"] += loss
        v["final_loss"].copy_(loss)
        probabilities = z.softmax(dim=1)
        v["prob"] += probabilities.gather(1, y[:, None]).squeeze(1)
        if epoch <= self.early:
            v["el2n"] += (probabilities - F.one_hot(y, z.shape[1])).norm(dim=1)
        return loss, correct

    def stop(self) -> int:
        """The epoch after which the training ends, by what is known so far: T, or that of the Nth perfect one in a row."""
        if self.patience is None:
            return self.epochs
        return min(self.epochs, int(self.values["last_wrong"].max()) + self.patience)

    def columns(self) -> dict[str, Any]:
        """The raw scores of table `examples`, NumPy [n] each, after the last epoch; means are over the epochs trained."""
        v = {k: t.cpu() for k, t in self.values.items()}
        trained = self.stop()
        never = v["ever_correct"] == 0
        columns = {
            "learning_time": v["last_wrong"] + 1,
            "forgetting": torch.where(never, self.epochs + 1, v["forgetting"]),
            "aum": v["margin"] / trained,
            "el2n": v["el2n"] / min(self.early, trained),
            "mean_loss": v["loss"] / trained,
            "final_loss": v["final_loss"],
            "mean_prob": v["prob"] / trained,
        }
        return {k: t.numpy() for k, t in columns.items()}


def examples_table(config: TrainConfig, data: Data, dynamics: dict[str, Tensor]) -> dict[str, Any]:
    """Table `examples` from the last epoch's dynamics."""
    state = Dynamics(config, len(data.y), torch.device("cpu"))
    state.values = dict(dynamics)
    labels = {"example": data.example, "label": data.y, "true_label": data.true_label, "noisy": data.noisy}
    return labels | state.columns()


def train(
    config: TrainConfig,
    data: Data,
    device: torch.device,
    after: Epoch | None = None,
    start: Mapping[str, Tensor] | None = None,
    observe: Observe | None = None,
) -> Iterator[Epoch]:
    """Trains, yielding the state after initialisation (epoch 0) and after every epoch 1..T.

    Args:
        config: resolved.
        data: what the training sees.
        device: where to compute; the results are bit-equal for the same kind of device and library versions.
        after: continue after this state instead of from the start; the rest is bit-identical to an undisturbed run.
        start: weights to start from instead of an initialisation.
        observe: sees every step; the graph of its logits is still there. It does not change the training.
    """
    on_device = OnDevice(data, device)
    network = build(config, data.shape, data.classes)
    dropout = build_dropout(config, network.sites, data.example, device)
    dynamics = Dynamics(config, len(data.y), device)
    if after is None and start is None:
        network.initialise(config.seed)
    elif after is None:
        network.load_state_dict(dict(start or {}))
    else:
        network.load_state_dict(after.weights)
        for name, values in after.dynamics.items():
            dynamics.values[name].copy_(values)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    dropout.constrain(network)
    optimizer, scaler = _optimizer(config, network, device)
    if after is None:
        yield _state(0, network, optimizer, dynamics, scaler)
    else:
        _restore_momentum(optimizer, network, after.momentum)
        if scaler is not None:
            scaler.load_state_dict(after.scaler)
    forward = forward_pass(config, network, device)
    state = after
    for epoch in range((after.epoch if after else 0) + 1, config.epochs + 1):
        if epoch > dynamics.stop():
            assert state is not None
            state = replace(state, epoch=epoch, row=None)
            yield state
            continue
        lr, z = _train_epoch(config, epoch, network, forward, dropout, optimizer, on_device, data, scaler, observe)
        loss, correct = dynamics.update(epoch, z, on_device.y)
        row = {
            "epoch": epoch,
            "lr": lr,
            "loss": float(loss.mean()),
            "clean_acc": set_mean(correct, ~on_device.noisy),
            "noisy_acc": set_mean(correct, on_device.noisy),
            "test_acc": _test_accuracy(config, network, dropout, on_device),
        }
        state = _state(epoch, network, optimizer, dynamics, scaler, row)
        yield state


def _optimizer(
    config: TrainConfig, network: Network, device: torch.device
) -> tuple[torch.optim.Optimizer, torch.amp.GradScaler | None]:
    """SGD; for `fp16` with a scaler of the loss, which leaves out an update whose gradients have overflowed."""
    settings: dict[str, Any] = {"lr": config.lr, "momentum": config.momentum, "weight_decay": config.weight_decay}
    if config.precision != "fp16":
        return torch.optim.SGD(network.parameters(), foreach=True, **settings), None
    # Fused: the update itself looks whether gradients have overflowed, and the host need not wait to know.
    optimizer = torch.optim.SGD(network.parameters(), fused=True, **settings)
    for p in network.parameters():  # were the first update left out, the buffers would be memory as it was found
        optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer, torch.amp.GradScaler(device.type)


def _train_epoch(
    config: TrainConfig,
    epoch: int,
    network: Network,
    forward: Forward,
    dropout: Dropout,
    optimizer: torch.optim.Optimizer,
    on_device: OnDevice,
    data: Data,
    scaler: torch.amp.GradScaler | None = None,
    observe: Observe | None = None,
) -> tuple[float, Tensor]:
    """One epoch without a host synchronisation; returns (rate of the last step, logits n×K before each update)."""
    n, device = len(data.y), on_device.device
    seen = torch.empty(n, data.classes, device=device)
    per_epoch = steps_per_epoch(n, config.batch_size)
    shift = None
    if config.augment != "none":
        shift = to_device(shifts(config.augment, data.example, *data.shape[1:], config.seed, epoch), device)
    network.train()
    own = OwnDropouts(network, config.seed, device)
    lr = config.lr
    for k, rows in enumerate(batches(config, n, epoch, device)):
        step = (epoch - 1) * per_epoch + k
        lr = learning_rate(config, step, config.epochs * per_epoch, per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = lr
        x = on_device.batch(rows) if shift is None else images(augment(on_device.x[rows], shift[rows]))
        masks = own.training(len(rows), epoch, k, dropout.training(rows, epoch, k))
        with autocast(config, device):
            z, loss = forward(x, on_device.y[rows], masks)
        if observe is not None:
            observe(network, rows, z)
        optimizer.zero_grad(set_to_none=True)
        if scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        else:
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
        dropout.constrain(network)
        seen[rows] = z.detach().float()
    return lr, seen


def _test_accuracy(config: TrainConfig, network: Network, dropout: Dropout, on_device: OnDevice) -> float | None:
    """Evaluation mode; mode plain, for example-tied dropout scaled. None without test examples."""
    if not len(on_device.y_test):
        return None
    mode = "scaled" if config.dropout == "example_tied" else "plain"
    z = logits(network, on_device.x_test, lambda rows: dropout.evaluation(mode))
    return float((z.argmax(dim=1) == on_device.y_test).to(torch.float64).mean())


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[Any]:
    """The forward pass's precision, where it is not that of the parameters."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _state(
    epoch: int,
    network: Network,
    optimizer: torch.optim.Optimizer,
    dynamics: Dynamics,
    scaler: torch.amp.GradScaler | None = None,
    row: dict[str, Any] | None = None,
) -> Epoch:
    """A copy of the present state, begun."""
    buffers = {name: optimizer.state[p].get("momentum_buffer") for name, p in network.named_parameters()}
    momentum = {name: b for name, b in buffers.items() if b is not None}
    copies = HostCopies(next(network.parameters()).device)
    weights, momentum, values = (copies.take(tensors) for tensors in (network.state_dict(), momentum, dynamics.values))
    return Epoch(epoch, weights, momentum, values, row, copies, scaler.state_dict() if scaler else {})


def _restore_momentum(optimizer: torch.optim.Optimizer, network: Network, momentum: dict[str, Tensor]) -> None:
    for name, p in network.named_parameters():
        if name in momentum:
            optimizer.state[p]["momentum_buffer"] = torch.empty_like(p).copy_(momentum[name])
