"""Training and its per-example scores written straight from science.md: plain loops, no sharing with memloc.stages.

Only the keyed permutation of an epoch is drawn by the same `stream`; everything made of it is written out again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.seeds import stream
from tests.models.plain import Plain, scaled_at

Factors = Callable[[list[int], int, int], Mapping[str, Tensor]]  # (rows, epoch, batch of the epoch) -> {site: factor}


@dataclass
class Run:
    """weights: after epochs 0..T. seen: float32 [n, K] for epochs 1..T, each example's logits before its update."""

    weights: list[dict[str, Tensor]] = field(default_factory=list)
    seen: list[Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)  # one per step
    test_acc: list[float] = field(default_factory=list)


def split_into_batches(order: Sequence[int], size: int) -> list[list[int]]:
    """Batches of `size`; a single example that is left over joins the batch before."""
    batches: list[list[int]] = []
    for i in order:
        if not batches or len(batches[-1]) == size:
            batches.append([])
        batches[-1].append(int(i))
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] += last
    return batches


def one_cycle(s: int, n: int, per_epoch: int, peak_epoch: int, lr: float) -> float:
    """science.md, Training: the rate of step s of n."""
    if n == 1:
        return lr
    p = peak_epoch * per_epoch
    if p < 1:
        p = 1
    if p > n - 1:
        p = n - 1
    up, down = (s + 1) / p, (n - s) / (n - p)
    return lr * (up if up < down else down)


def pixels(x: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
    """(x − 0.5)/0.5 of pixels in [0, 1]."""
    return (torch.tensor(x).to(dtype) / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def train(
    config: TrainConfig,
    data: Data,
    start: Mapping[str, Tensor],
    factors: Factors | None = None,
    test_factors: Mapping[str, Tensor] | None = None,
    weight_masks: Mapping[int, Tensor] | None = None,
    moved: Callable[[int], np.ndarray] | None = None,
) -> Run:
    """Trains a plain network from the weights `start`, in their precision.

    factors: multiplied in at the dropout sites of each training batch; test_factors: for the test accuracy.
    weight_masks: {index of a parameter: 0/1 factor}, multiplied in inside the forward pass.
    moved: epoch -> the augmented training images, uint8.
    """
    dtype = next(iter(start.values())).dtype
    network = Plain(data.shape[0], data.classes, config.architecture.width).to(dtype).load(start)
    network = network.to(memory_format=torch.channels_last)
    names = [name for name, _ in network.named_parameters()]
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay, foreach=False
    )
    y = torch.tensor(data.y)
    n, run = len(y), Run()
    per_epoch = len(split_into_batches(range(n), config.batch_size))
    run.weights.append(copy(network))
    for epoch in range(1, config.epochs + 1):
        x = pixels(data.x if moved is None else moved(epoch), dtype)
        seen = torch.full((n, data.classes), float("nan"), dtype=dtype)
        for k, rows in enumerate(
            split_into_batches(list(stream(config.seed, "batch order", epoch).permutation(n)), config.batch_size)
        ):
            rate = one_cycle(
                (epoch - 1) * per_epoch + k, config.epochs * per_epoch, per_epoch, config.peak_epoch or 0, config.lr
            )
            run.rates.append(rate)
            optimizer.param_groups[0]["lr"] = rate
            if config.batch_norm.kind == "frozen" and epoch > 1:
                network.eval()
            else:
                network.train()
            at = factors(rows, epoch, k) if factors else {}
            with scaled_at({network.site(site): f for site, f in at.items()}):
                if weight_masks is None:
                    z = network(x[rows])
                else:
                    used = {
                        name: p * weight_masks[i] if i in weight_masks else p
                        for i, (name, p) in enumerate(zip(names, network.parameters(), strict=True))
                    }
                    z = torch.func.functional_call(network, used, (x[rows],))
            seen[rows] = z.detach()
            optimizer.zero_grad()
            nn.functional.cross_entropy(z, y[rows]).backward()
            optimizer.step()
        run.seen.append(seen)
        run.weights.append(copy(network))
        with scaled_at({network.site(site): f for site, f in (test_factors or {}).items()}), torch.no_grad():
            predicted = network.eval()(pixels(data.x_test, dtype)).argmax(dim=1).tolist()
        run.test_acc.append(sum(p == t for p, t in zip(predicted, data.y_test.tolist(), strict=True)) / len(predicted))
    return run


def copy(network: nn.Module) -> dict[str, Tensor]:
    return {k: t.detach().clone() for k, t in network.state_dict().items()}


# --- per-example scores -----------------------------------------------------------------------------------------------


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / math.fsum(e) for v in e]


def cross_entropy(z: list[float], label: int) -> float:
    top = max(z)
    return math.log(math.fsum(math.exp(v - top) for v in z)) + top - z[label]


def scores(seen: Sequence[Tensor], y: Sequence[int]) -> dict[str, list[float]]:
    """The raw scores of table `examples`, one example and one epoch after the other. seen: n×K logits, epochs 1..T."""
    epochs = len(seen)
    early = max(1, round(epochs / 5))
    names = ["learning_time", "forgetting", "aum", "el2n", "mean_loss", "final_loss", "mean_prob"]
    names += ["alternative", "alternative_prob"]
    out: dict[str, list[float]] = {name: [] for name in names}
    for i, label in enumerate(y):
        history = [[float(v) for v in z[i]] for z in seen]
        correct = [max(range(len(z)), key=lambda k: z[k]) == label for z in history]
        losses = [cross_entropy(z, label) for z in history]
        margins = [z[label] - max(v for k, v in enumerate(z) if k != label) for z in history]
        errors = []
        for z in history[:early]:
            errors.append(math.sqrt(math.fsum((p - (k == label)) ** 2 for k, p in enumerate(softmax(z)))))
        stays = [t for t in range(1, epochs + 1) if all(correct[t - 1 :])]
        out["learning_time"].append(stays[0] if stays else epochs + 1)
        lost = sum(a and not b for a, b in pairwise(correct))
        out["forgetting"].append(lost if any(correct) else epochs + 1)
        out["aum"].append(math.fsum(margins) / epochs)
        out["el2n"].append(math.fsum(errors) / early)
        out["mean_loss"].append(math.fsum(losses) / epochs)
        out["final_loss"].append(losses[-1])
        means = [math.fsum(column) / epochs for column in zip(*map(softmax, history), strict=True)]
        out["mean_prob"].append(means[label])
        others = {k: mean for k, mean in enumerate(means) if k != label}
        out["alternative"].append(max(others, key=others.__getitem__))
        out["alternative_prob"].append(max(others.values()))
    return out
