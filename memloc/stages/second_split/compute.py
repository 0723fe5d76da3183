"""Second-split forgetting (science.md, Detection scores; the paper's "forgetting time", §6.1; after Maini et al., 2022).

The training set is cut into halves. A network learns one half, then trains on the other. An example's time is the epoch in
which the network forgets it for good. This is done for both halves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from memloc.config import TrainConfig, default_peak
from memloc.data import Data
from memloc.data.arrays import I64
from memloc.data.device import OnDevice
from memloc.models.build import build
from memloc.models.dropouts import build_dropout
from memloc.models.inference import logits
from memloc.models.memory_format import channels_last
from memloc.seeds import stream, torch_seed
from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs
from memloc.stages.second_split.config import ResolvedSecondSplit
from memloc.stages.training.loop import train
from memloc.stages.training.mode import with_batch_norm


def run(config: ResolvedSecondSplit, inputs: Inputs, part: Part) -> Tables:
    """One row per example of the half: `time`, the first epoch e = 0..T of the other half's training from which it stays
    wrong (evaluation mode, the label trained on), or T+1 if it is right at the end.

    e = 0 is before the other half's first update. Both trainings have the same seed, keyed by (seed, half), and the
    training's settings and schedule, but neither ends early. The second one starts with new momentum.
    """
    half = int(part["half"])
    first, second = (_part_of(inputs.data, rows) for rows in halves(len(inputs.data.y), inputs.train.seed, half))
    settings = _settings(config, inputs.train, half)
    for epoch in train(settings, first, inputs.device):
        learned = epoch
    learned.wait()
    right_until = torch.full((len(first.y),), -1, dtype=torch.int64, device=inputs.device)
    correct = _Correct(settings, config.mask_mode or "plain", first, inputs.device)
    for epoch in train(settings, second, inputs.device, start=learned.weights):
        epoch.wait()
        right_until.masked_fill_(correct(epoch.weights), epoch.epoch)
    return {"second_split": {"example": first.example, "time": (right_until + 1).cpu().numpy()}}


def halves(n: int, seed: int, half: int) -> tuple[I64, I64]:
    """(the rows whose forgetting is timed, the others), in order; a keyed permutation's first ⌈n/2⌉ are half 0."""
    order = stream(seed, "second split").permutation(n)
    middle = -(-n // 2)
    one, other = np.sort(order[:middle]), np.sort(order[middle:])
    return (one, other) if half == 0 else (other, one)


def _part_of(data: Data, rows: I64) -> Data:
    """Some of the training examples, without a test set: test accuracy is not used here."""
    of_rows = {name: getattr(data, name)[rows] for name in ("x", "y", "true_label", "noisy", "example")}
    return replace(data, **of_rows, x_test=data.x_test[:0], y_test=data.y_test[:0])


def _settings(config: ResolvedSecondSplit, train: TrainConfig, half: int) -> TrainConfig:
    same = config.epochs == train.epochs
    peak = train.peak_epoch if same else default_peak(train.schedule, config.epochs)
    seed = torch_seed(train.seed, "second split", half)
    # Both trainings run all their epochs: a time is one of 0..T, or T+1 for what is right after epoch T.
    whole = {"stop": None, "stop_after_perfect": None}
    own = {"seed": seed, "epochs": config.epochs, "peak_epoch": peak, **whole}
    return with_batch_norm(train, config.batch_norm).model_copy(update=own)


class _Correct:
    """Which examples a network of these weights gets right: bool [n], evaluation mode."""

    def __init__(self, config: TrainConfig, mask_mode: str, data: Data, device: torch.device) -> None:
        self.on_device, self.mask_mode = OnDevice(data, device), mask_mode
        network = build(config, data.shape, data.classes)
        self.network = channels_last(network.to(device))
        self.dropout = build_dropout(config, network.sites, data.example, device)

    def __call__(self, weights: Mapping[str, Tensor]) -> Tensor:
        self.network.load_state_dict(dict(weights))
        z = logits(self.network, self.on_device.x, lambda rows: self.dropout.evaluation(self.mask_mode, rows))
        return z.argmax(dim=1) == self.on_device.y
