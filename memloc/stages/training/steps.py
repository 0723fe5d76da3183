"""Steps and learning rates (science.md, Training) of trainings and of stages that train again. Imports no torch."""

from __future__ import annotations

import math

from memloc.config import FrozenStatistics, TrainConfig

BATCH_NORM_MOMENTUM = 0.1  # PyTorch's default: the share by which a step moves the running statistics towards the batch's
NOTICEABLE = 0.1  # from this share of the initial values on, a dry run mentions them


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches of one epoch: the last partial one is kept, but a single example joins the batch before."""
    full, rest = divmod(n, batch_size)
    return max(1, full + (rest > 1))


def learning_rate(config: TrainConfig, step: int, steps: int, per_epoch: int) -> float:
    """The rate of step s = 0..N−1 of N.

    one_cycle: lr·min((s+1)/P, (N−s)/(N−P)), P = clamp(peak_epoch·B, 1, N−1). warmup_cosine: the same rise, then
    lr·(1 + cos(π·(s+1−P)/(N−P)))/2.
    """
    if steps == 1:
        return config.lr
    peak = min(max(config.peak_epoch * per_epoch, 1), steps - 1)
    if config.schedule == "one_cycle":
        return config.lr * min((step + 1) / peak, (steps - step) / (steps - peak))
    if step < peak:
        return config.lr * (step + 1) / peak
    return config.lr * (1 + math.cos(math.pi * (step + 1 - peak) / (steps - peak))) / 2


def frozen_note(config: TrainConfig, n: int) -> str | None:
    """The note of a dry run if epoch 1 is too short for the statistics that `batch_norm: frozen` freezes. n: examples.

    After B updates the share (1 − momentum)^B of the running statistics is still their first value: mean 0, variance 1.
    """
    if not isinstance(config.batch_norm, FrozenStatistics):
        return None
    steps = steps_per_epoch(n, config.batch_size)
    left = (1 - BATCH_NORM_MOMENTUM) ** steps
    if left <= NOTICEABLE:
        return None
    enough = math.ceil(math.log(NOTICEABLE) / math.log(1 - BATCH_NORM_MOMENTUM))
    return (
        f"batch_norm: frozen with {steps} {'batch' if steps == 1 else 'batches'} in an epoch: {left:.0%} of the frozen "
        f"statistics is still the initial mean 0 and variance 1; {enough} batches leave less than {NOTICEABLE:.0%}"
    )
