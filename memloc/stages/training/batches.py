"""Batches (science.md, Training): the same for a training and for stages that train again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.seeds import stream
from memloc.stages.training.steps import steps_per_epoch
from memloc.stages.training.transfer import to_device


def split_into_batches(order: npt.NDArray[np.int64], batch_size: int, device: torch.device | None = None) -> list[Tensor]:
    """An order of rows, int64 [n], split into batches. It is copied to `device` in one piece."""
    ends = [batch_size * k for k in range(1, steps_per_epoch(len(order), batch_size))]
    rows = torch.from_numpy(order)
    return list((rows if device is None else to_device(rows, device)).tensor_split(ends))


def batches(config: TrainConfig, n: int, epoch: int, device: torch.device | None = None) -> list[Tensor]:
    """The training epoch's keyed permutation of the rows 0..n−1, split into batches: int64 each."""
    return split_into_batches(stream(config.seed, "batch order", epoch).permutation(n), config.batch_size, device)
