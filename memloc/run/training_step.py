"""The cost of a training step that no store knows: timed on this machine, or counted and divided by an assumed speed."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from memloc.models.build import build
from memloc.models.memory_format import channels_last
from memloc.run.by_shape.counting import Counting
from memloc.run.by_shape.stand_in import stand_in_data
from memloc.run.cost import IMAGES, Rate, Shape
from memloc.run.plan import TrialPlan
from memloc.run.worker import set_up_numerics
from memloc.stages.training.loop import Training

# Assumed operations per second: of a data-centre GPU in float32, and of one thread of a CPU.
SPEED = {"cuda": 10e12, "cpu": 20e9}
# The assumed least time of a training step: a GPU gets its kernels one by one.
STEP_SECONDS = {"cuda": 5e-3, "cpu": 0.0}

STEPS, SECONDS = 4, 2.0  # for one network, about; a dry run waits for it


def timed(trial: TrialPlan, shape: Shape, device: torch.device) -> Rate:
    """Times training steps; a step is three forward passes per image.

    On a GPU the steps are the training's own: its numerics, its batch, its optimizer. On a CPU they have up to 128 images.
    If such a step would take long by its number of operations, they have fewer, at least 8.
    """
    if device.type != "cpu":
        return _timed_as_it_is(trial, shape, device)
    torch.set_num_threads(trial.config.threads)
    images = min(trial.config.batch_size, IMAGES)
    affordable = SECONDS / (STEPS * 3 * counted_rate(trial, shape, "cpu").seconds)
    images = min(images, max(8, int(affordable)))
    network = build(trial.config, shape, trial.size.classes)
    network.initialise(0)
    x = torch.zeros(images, *shape).contiguous(memory_format=torch.channels_last)
    network = channels_last(network)
    best, begun = float("inf"), time.perf_counter()
    for step in range(STEPS):  # the first one warms up
        if step > 1 and time.perf_counter() - begun > 2 * SECONDS:
            break
        clock = time.perf_counter()
        network(x).square().mean().backward()
        best = min(best, time.perf_counter() - clock)
    return Rate(best / (3 * len(x)), f"a training step timed on this machine ({device.type})")


def _timed_as_it_is(trial: TrialPlan, shape: Shape, device: torch.device) -> Rate:
    """The training itself, over a few batches of images without content."""
    config = trial.config
    set_up_numerics(config, device)
    batch = min(config.batch_size, trial.size.n)
    size = replace(trial.size, n=STEPS * batch, n_noisy=0, n_test=0, n_out=0)
    training = Training(config, stand_in_data(size, shape), device)
    best = float("inf")
    for _ in range(2):  # the first pass warms up
        synchronise(device)
        clock = time.perf_counter()
        training.pass_over(1)
        synchronise(device)
        best = min(best, time.perf_counter() - clock)
    return Rate(best / (3 * size.n), f"{STEPS} training steps timed on this machine ({device.type})")


def synchronise(device: torch.device) -> None:
    """Returns once a GPU has done everything that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def counted_rate(trial: TrialPlan, shape: Shape, device: str) -> Rate:
    """A forward pass by its operations (a multiplication and its addition are two) at the assumed speed.

    It takes at least its share of a training step of the assumed least time.
    """
    network = build(trial.config, shape, trial.size.classes).eval()
    with torch.no_grad(), Counting("cpu") as counted:
        network(torch.zeros(1, *shape))
    speed = SPEED[device] * (trial.config.threads if device == "cpu" else 1)
    basis = f"operations counted, {speed / 1e12:g} TFLOP/s assumed ({device})"
    return Rate(max(counted.counts.operations / speed, STEP_SECONDS[device] / (3 * trial.config.batch_size)), basis)
