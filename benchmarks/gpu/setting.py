"""What the checks work on, and how they time, count and report."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models.architectures import resolved
from memloc.models.recomputation import recomputing
from memloc.run.memory import release
from memloc.run.worker import set_up_numerics
from memloc.stages.training.loop import Training

SHAPE, CLASSES = (3, 32, 32), 10
GIB = 1 << 30


@dataclass(frozen=True)
class Row:
    """One line of the table. right: False for a check that failed, None for a number that is only told."""

    check: str
    what: str
    found: str
    note: str = ""
    right: bool | None = None


@dataclass
class Setting:
    """The device, and how large the work on it is. rows: what has been found so far."""

    device: torch.device
    small: bool
    rows: list[Row] = field(default_factory=list)
    check: str = ""

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def batch(self) -> int:
        return 32 if self.small else 512

    def networks(self) -> Mapping[str, dict[str, Any]]:
        """The paper's networks; small: the first one, narrow."""
        narrow = {"model": "resnet9", "width": 0.0625 if self.small else 1.0}
        large = {"resnet50": {"model": "resnet50", "stem": "cifar"}, "vit_small": {"model": "vit_small"}}
        return {"resnet9": narrow} | ({} if self.small else large)

    def config(self, network: str = "resnet9", **more: Any) -> TrainConfig:
        """A training with one of these networks."""
        return resolved(dataset="cifar10", batch_size=self.batch, noise=0.1, **{**self.networks()[network], **more})

    def told(self, what: str, found: object, note: str = "", right: bool | None = None) -> None:
        """Adds a row, and prints it at once."""
        row = Row(self.check, what, str(found), note, right)
        self.rows.append(row)
        print(f"{row.check}: {what}: {row.found} {note}{' WRONG' if right is False else ''}", flush=True)

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(row) for row in self.rows]

    def wait(self) -> None:
        """Returns once the device has done what was asked of it."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object], turns: int = 3) -> float:
        """The median time of the work, after a first turn that makes workspaces."""
        work()
        taken = []
        for _ in range(1 if self.small else turns):
            self.wait()
            clock = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - clock)
        return statistics.median(taken)

    def peak(self, work: Callable[[], object]) -> float:
        """GiB of tensors at the most meanwhile; 0 on a CPU."""
        if not self.on_gpu:
            work()
            return 0.0
        self.free()
        torch.cuda.reset_peak_memory_stats(self.device)
        work()
        self.wait()
        return float(torch.cuda.max_memory_allocated(self.device) / GIB)

    @contextmanager
    def fitting(self, what: str) -> Iterator[None]:
        """Tells where memory ran out meanwhile, and goes on: a small card may lack room for the largest network."""
        try:
            yield
        except torch.OutOfMemoryError:
            self.told(what, "memory ran out")
        finally:
            self.free()

    def free(self) -> None:
        """Gives back what nobody uses any more."""
        gc.collect()
        release(self.device)


@dataclass(frozen=True)
class Kernels:
    """What a profiler has seen: kernels of the device, their seconds, and how often the host waited."""

    count: int
    seconds: float
    waits: int


def kernels(setting: Setting, work: Callable[[], object]) -> Kernels:
    """Of one turn of the work; on a CPU the operations take the place of kernels."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_gpu else [])]
    with profile(activities=activities) as profiled:
        work()
        setting.wait()
    events = list(profiled.events() or ())
    waits = sum("Synchronize" in event.name for event in events)
    if not setting.on_gpu:
        return Kernels(sum(event.name.startswith("aten::") for event in events), 0.0, waits)
    of_device = [event for event in events if event.device_type.name == "CUDA" and not event.name.startswith("Mem")]
    return Kernels(len(of_device), sum(event.device_time for event in of_device) / 1e6, waits)


@lru_cache(maxsize=4)
def images(n: int, n_test: int) -> Data:
    """Random images whose brightness tells their class, a tenth of the labels wrong."""
    draws = np.random.default_rng(0)
    true, test = draws.integers(0, CLASSES, n), draws.integers(0, CLASSES, n_test)

    def pictures(labels: Any) -> Any:
        noise = draws.normal(30, 25, (len(labels), *SHAPE))
        return np.clip(labels[:, None, None, None] * 20 + noise, 0, 255).astype(np.uint8)

    noisy = draws.random(n) < 0.1
    given = np.where(noisy, (true + 1) % CLASSES, true)
    return Data(pictures(true), given, true, noisy, np.arange(n), pictures(test), test, CLASSES)


@contextmanager
def training(setting: Setting, config: TrainConfig, data: Data, again: bool = False) -> Iterator[Training]:
    """A training on the device with its own numerics, and its memory given back at the end.

    again: with activation checkpointing.
    """
    set_up_numerics(config, setting.device)
    made = [Training(config, data, setting.device)]
    try:
        with recomputing(again):
            yield made[0]
    finally:
        made.clear()
        setting.free()
