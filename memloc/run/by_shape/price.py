"""Seconds on a GPU by shape: a kernel takes the longer of its operations and its bytes, at the rates that are assumed."""

from __future__ import annotations

from functools import lru_cache

import torch

from memloc.models.inference import GROUP_SIZE, logits
from memloc.run.by_shape.computations import of_step
from memloc.run.by_shape.counting import Counting, Counts
from memloc.run.by_shape.elsewhere import shapes_alone
from memloc.run.by_shape.short_runs import META
from memloc.run.by_shape.stand_in import Shape, stand_in, stand_in_data
from memloc.run.by_shape.subject import Subject
from memloc.run.cards import LAUNCH, SHARES, Card
from memloc.run.cost import Rate
from memloc.run.plan import TrialPlan


def seconds(counts: Counts, card: Card, precision: str) -> float:
    """How long the card takes; but at least as long as the host takes to launch the kernels one by one."""
    total, bandwidth = 0.0, card.bandwidth * SHARES["bandwidth"]
    for kernel, times in counts.kernels.items():
        of_kernel = precision if kernel.dtype is torch.float32 else "fp32"
        total += times * max(kernel.operations / card.reached(of_kernel), kernel.moved / bandwidth)
    return max(total, counts.launches * LAUNCH)


def training_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    """Of a training: a step of a whole batch is three forward passes for each of its images.

    Shapes are counted in float32. Under bf16 and fp16 operations have their own rate, and the bytes are too many.
    """
    config = trial.config
    step = _step(Subject.of(trial, shape))
    passes = 3 * min(config.batch_size, trial.size.n)
    return Rate(seconds(step, card, config.precision) / passes, _basis(card, config.precision))


def forward_rate(trial: TrialPlan, shape: Shape, card: Card) -> Rate:
    """Of a stage that runs the network mostly forward (`run/cost.py`), in float32 or tf32: a group of images."""
    precision = "fp32" if trial.config.precision == "fp32" else "tf32"
    return Rate(seconds(_forward(Subject.of(trial, shape)), card, precision) / GROUP_SIZE, _basis(card, precision))


def _basis(card: Card, precision: str) -> str:
    return f"operations and bytes by shape on {card.name}: {card.believed(precision)}"


@lru_cache(maxsize=128)
def _step(subject: Subject) -> Counts:
    return of_step(subject)


@lru_cache(maxsize=128)
def _forward(subject: Subject) -> Counts:
    short = subject.of_length(min(subject.size.n, GROUP_SIZE), 0)
    with shapes_alone(subject.config), Counting() as counting:
        inputs = stand_in(subject.config, stand_in_data(short.size, subject.shape), META)
        network, x = inputs.network(subject.config.epochs), inputs.on_device.x
        before = counting.counts.copy()
        logits(network, x)
        after: Counts = counting.counts.copy()
    return after.since(before)
