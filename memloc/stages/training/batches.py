"""Batches and learning rates (science.md, Training): the same for a training and for what trains again."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.seeds import stream
from memloc.stages.training.transfer import to_device


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches of one epoch: the last partial one is kept, but a single example joins the batch before."""
    full, rest = divmod(n, batch_size)
    return max(1, full + (rest > 1))


def cut(order: npt.NDArray[np.int64], batch_size: int, device: torch.device | None = None) -> list[Tensor]:
    """An order of rows, int64 [n], cut into batches, brought to `device` in one piece."""
    cuts = [batch_size * k for k in range(1, steps_per_epoch(len(order), batch_size))]
    rows = torch.from_numpy(order)
    return list((rows if device is None else to_device(rows, device)).tensor_split(cuts))


def batches(config: TrainConfig, n: int, epoch: int, device: torch.device | None = None) -> list[Tensor]:
    """The training epoch's keyed permutation of the rows 0..n−1, cut into batches."""
    return cut(stream(config.seed, "batch order", epoch).permutation(n), config.batch_size, device)


def learning_rate(config: TrainConfig, step: int, steps: int, per_epoch: int) -> float:
    """The rate of step s = 0..N−1 of N.

    one_cycle: lr·min((s+1)/P, (N−s)/(N−P)), P = clamp(peak_epoch·B, 1, N−1). warmup_cosine: the same rise, then
    lr·(1 + cos(π·(s+1−P)/(N−P)))/2.
    """
    if steps == 1:
        return config.lr
    assert config.peak_epoch is not None
    peak = min(max(config.peak_epoch * per_epoch, 1), steps - 1)
    if config.schedule == "one_cycle":
        return config.lr * min((step + 1) / peak, (steps - step) / (steps - peak))
    if step < peak:
        return config.lr * (step + 1) / peak
    return config.lr * (1 + math.cos(math.pi * (step + 1 - peak) / (steps - peak))) / 2
