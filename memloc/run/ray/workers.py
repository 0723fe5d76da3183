"""What computes: a training, the parts of an analysis. Both are Ray tasks; a training holds more where it is on a GPU.

Whatever imports torch is imported where it is used, so that coordinators can name these without paying for it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ray

from memloc.run.events import PartResult, TrainingResult
from memloc.run.placement import visible_index
from memloc.run.ray.draining import is_draining
from memloc.store import Store

if TYPE_CHECKING:
    import torch

    from memloc.run.pending import Item, Work
    from memloc.run.worker import Worker

TASK_RETRIES = 3


@dataclass(frozen=True)
class Job:
    """What the processes that work on one trial need to know. data: {data set: reference to its arrays}."""

    run: str
    uri: str
    work: Work
    data: dict[str, Any]
    admission: Any


_workers: dict[tuple[str, str], Worker] = {}  # of this process's store and device: the data there outlive a task
_raws: dict[str, Any] = {}


def _worker(job: Job) -> Worker:
    import torch

    from memloc.run.worker import Worker

    def raw(name: str) -> Any:
        if name not in _raws:
            _raws[name] = ray.get(job.data[name])
        return _raws[name]

    device = _device()
    key = job.uri, str(device)
    if key not in _workers:
        _workers.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()  # of the GPU that was this process's before
            torch.cuda.set_device(device)
        _workers[key] = Worker(Store(job.uri), raw, device)
    return _workers[key]


def _device() -> torch.device:
    """The GPU that Ray gave to this task, if there are any.

    A process keeps its CUDA context between tasks, and sees the GPUs that it saw when it made it; the next task may be given
    another one. So all are visible (`NOSET`), and each task picks its own.
    """
    import torch

    ids = ray.get_gpu_ids()
    if not ids or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", visible_index(str(ids[0]), os.environ.get("CUDA_VISIBLE_DEVICES")))


def _train(job: Job) -> TrainingResult:
    """Trains; while draining, it ends after its present epoch."""
    clock = time.perf_counter()
    trial = job.work.trial.id
    host = platform.node()
    job.admission.placed.remote(trial, host)

    from memloc.run.attempts import attempt_training

    told: list[Any] = []

    def tell(epoch: int, row: Mapping[str, Any]) -> None:
        told[:] = [job.admission.reached.remote(trial, host, epoch, row)]

    result = attempt_training(_worker(job), job.work, tell, lambda: is_draining(job.run))
    ray.get(told)  # the last epoch is known before the end is
    return replace(result, seconds=time.perf_counter() - clock)


# Its coordinator begins a lost training again. On CPUs it takes any process of the pool, which has torch imported already
# but for the first ones; on a GPU one of its own, which gives back the memory of its GPU with its place.
@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def train(job: Job) -> TrainingResult:
    return _train(job)


@ray.remote(max_retries=0, max_calls=1)  # type: ignore[untyped-decorator]
def train_alone(job: Job) -> TrainingResult:
    return _train(job)


# A task on a GPU gets a process of its own unless max_calls says otherwise; bounded, since it keeps its CUDA context.
@ray.remote(max_calls=50, max_retries=TASK_RETRIES)  # type: ignore[untyped-decorator]
def run_parts(job: Job, part_ids: list[str]) -> list[PartResult]:
    """Computes and commits parts, one after the other or together. While draining, none is begun."""
    from memloc.run.attempts import attempt_parts

    worker, trial = _worker(job), job.work.trial
    items: dict[str, Item] = {part_id: (analysis, part_id, part) for analysis, part_id, part in job.work.parts}
    return list(attempt_parts(worker, trial, [items[i] for i in part_ids], lambda: is_draining(job.run)))
