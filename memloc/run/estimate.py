"""How long work will take, and from what that is known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from memloc.models import build
from memloc.run.plan import TrialPlan, Work, part_passes, train_passes, work_passes
from memloc.run.trial import default_device
from memloc.store import Snapshot

Network = tuple[str, float | None, tuple[int, int, int], int]  # model, width, image shape, threads


@dataclass(frozen=True)
class Estimate:
    """seconds: wall time. basis: one phrase on where it comes from."""

    seconds: float
    basis: str


def estimate(works: Sequence[Work], snapshot: Snapshot, shapes: dict[str, tuple[int, int, int]], slots: int) -> Estimate:
    """The wall time of the work on `slots` workers: no less than its longest chain, or its sum over the slots.

    shapes: {data set: C, H, W}.
    """
    if not any(work_passes(w) for w in works):
        return Estimate(0.0, "nothing to do")
    rates: dict[Network, tuple[float, str]] = {}
    total = longest = 0.0
    for work in works:
        network = _network(work.trial, shapes)
        if network not in rates:
            rates[network] = _rate(work.trial, network, snapshot, shapes)
        rate = rates[network][0]
        total += rate * work_passes(work)
        longest = max(longest, rate * _chain(work))
    return Estimate(max(total / slots, longest), "; ".join(dict.fromkeys(basis for _, basis in rates.values())))


def _chain(work: Work) -> float:
    """What cannot be done in parallel: the training, then the longest part."""
    train = train_passes(work.trial) if work.train != "done" else 0.0
    return train + max((part_passes(work.trial, a) for a, _, _ in work.parts), default=0.0)


def _network(trial: TrialPlan, shapes: dict[str, tuple[int, int, int]]) -> Network:
    c = trial.config
    return c.model, c.width, shapes[c.dataset], c.threads


def _rate(
    trial: TrialPlan, network: Network, snapshot: Snapshot, shapes: dict[str, tuple[int, int, int]]
) -> tuple[float, str]:
    """(seconds per forward pass of one example, from what)."""
    device = default_device()
    same = [
        c
        for c in snapshot.trainings().values()
        if (c.config["model"], c.config.get("width"), shapes.get(c.config["dataset"]), c.config["threads"]) == network
        and c.where.get("device") == device.type
        and c.passes
    ]
    if same:
        return sum(c.seconds for c in same) / sum(
            c.passes for c in same
        ), f"{len(same)} trainings of the same network in this store"
    return _timed(trial, network[2], device), f"a training step timed on this machine ({device.type})"


def _timed(trial: TrialPlan, shape: tuple[int, int, int], device: torch.device) -> float:
    """Times training steps of up to 128 random images; a step is three forward passes per image."""
    torch.set_num_threads(trial.config.threads)
    network = build(trial.config, shape, trial.size.classes).to(device)
    network.initialise(0)
    x = torch.zeros(min(trial.config.batch_size, 128), *shape, device=device).contiguous(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        clock = time.perf_counter()
        network(x).square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - clock)
    return best / (3 * len(x))
