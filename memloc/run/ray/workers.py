"""The Ray tasks that compute: a training, and the parts of an analysis. On a GPU a training holds more than a task of parts.

Modules that import torch are imported where they are used. So coordinators can name these tasks without importing torch.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import ray

from memloc.errors import DeviceError
from memloc.run.events import PartResult, Room, TrainingResult
from memloc.run.quarantine import CardPlace
from memloc.run.ray.draining import is_draining
from memloc.run.ray.own_card import own_device, own_place
from memloc.store import Patience, Store

if TYPE_CHECKING:
    from memloc.config import SourceConfig
    from memloc.run.pending import Item, Work
    from memloc.run.worker import Worker

TASK_RETRIES = 3
MOST_CALLS = 50  # of a process on a GPU: it keeps a CUDA context on every card that it has had
TELL_SECONDS = 5.0  # for the last words of a process


@dataclass(frozen=True)
class Job:
    """The information of the processes that work on one trial.

    patience: seconds for which they wait for a storage that fails. data: {source: reference to its arrays}. files: {sha256:
    reference to the content} of the files of weights that the training reads.
    """

    run: str
    uri: str
    patience: float
    work: Work
    data: dict[SourceConfig, Any]
    admission: Any
    files: dict[str, Any] = field(default_factory=dict)


_workers: dict[tuple[str, str], Worker] = {}  # by store and device: the data on the device outlive a task
_raws: dict[SourceConfig, Any] = {}


def _worker(job: Job) -> Worker:
    import torch

    from memloc.run.worker import Worker

    def raw(source: SourceConfig) -> Any:
        if source not in _raws:
            _raws[source] = ray.get(job.data[source])
        return _raws[source]

    device = own_device()
    key = job.uri, str(device)
    if key not in _workers:
        _workers.clear()
        if device.type == "cuda":
            torch.cuda.empty_cache()  # of the process's previous GPU
            torch.cuda.set_device(device)
        _workers[key] = Worker(Store(job.uri, Patience(job.patience)), raw, device)
    _workers[key].store.files.patience.on_wait = partial(_tell_fault, job)
    return _workers[key]


@contextmanager
def _working(job: Job) -> Iterator[Worker]:
    """What this process computes with for a task. Afterwards the memory of its GPU is free for the next process.

    Ends this process at once if its device has failed: Ray tries again in another one.
    """
    from memloc.own_weights import carrying
    from memloc.run.device_faults import as_device_error
    from memloc.run.memory import release

    card = own_place()
    try:
        with as_device_error():
            worker = _worker(job)
        with as_device_error(worker.device), carrying(partial(_carried, job)):
            yield worker
            if worker.device.type == "cuda":
                release(worker.device)
        if card is not None:
            job.admission.worked.remote(card)
    except DeviceError as error:
        _end(job, str(error), card)


def _carried(job: Job, sha256: str) -> bytes | None:
    """The content of a file of weights; Ray brings it to each node once."""
    content: bytes | None = ray.get(job.files[sha256]) if sha256 in job.files else None
    return content


def _end(job: Job, how: str, card: CardPlace | None) -> None:
    """Ends this process. how: its device has failed; the coordinator hears it if anybody can hear anything."""
    try:
        with suppress(Exception):
            ray.get(job.admission.failed_device.remote(job.work.trial.id, how, card), timeout=TELL_SECONDS)
    finally:
        os._exit(1)


def _is_refused(job: Job) -> bool:
    """Whether the card of this task gets no work, because processes have failed on it again and again."""
    card = own_place()
    return card is not None and not ray.get(job.admission.gets_work.remote(card))


def _tell_fault(job: Job, fault: str) -> None:
    job.admission.waits.remote(job.work.trial.id, f"{platform.node()}/{os.getpid()}", fault)


def _train(job: Job, room: Room) -> TrainingResult:
    """Trains; while draining, it ends after its present epoch."""
    if _is_refused(job):
        return TrainingResult(False, refused=True)
    clock = time.perf_counter()
    trial = job.work.trial.id
    host = platform.node()
    job.admission.placed.remote(trial, host)

    from memloc.run.attempts import attempt_training

    announced: list[Any] = []

    def tell(epoch: int, row: Mapping[str, Any]) -> None:
        announced[:] = [job.admission.reached.remote(trial, host, epoch, row)]

    with _working(job) as worker:
        if worker.device.type == "cuda":
            worker.forget()  # what it has kept for parts
        result = attempt_training(worker, job.work, tell, lambda: is_draining(job.run), room)
    ray.get(announced)  # the last epoch must be known before the end is
    return replace(result, seconds=time.perf_counter() - clock)


# Its coordinator begins a lost training again. A training takes any process of the pool, which usually has torch imported,
# and on a GPU the context too: the same one as the parts before it.
@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def train(job: Job, room: Room = Room.SHARE) -> TrainingResult:
    """A training on CPUs."""
    return _train(job, room)


@ray.remote(max_retries=0, max_calls=MOST_CALLS)  # type: ignore[untyped-decorator]
def train_on_gpu(job: Job, room: Room = Room.SHARE) -> TrainingResult:
    """A training on a GPU."""
    return _train(job, room)


def _run_parts(job: Job, part_ids: list[str], room: Room) -> list[PartResult]:
    """Computes and commits parts, one after the other or together. While draining none is begun, nor on a refused card."""
    if _is_refused(job):
        return []
    from memloc.run.attempts import attempt_parts

    items: dict[str, Item] = {part_id: (analysis, part_id, part) for analysis, part_id, part in job.work.parts}
    chosen = [items[part_id] for part_id in part_ids]
    with _working(job) as worker:
        return list(attempt_parts(worker, job.work.trial, chosen, lambda: is_draining(job.run), room))


@ray.remote(max_retries=TASK_RETRIES)  # type: ignore[untyped-decorator]
def run_parts(job: Job, part_ids: list[str], room: Room = Room.SHARE) -> list[PartResult]:
    """Parts on CPUs."""
    return _run_parts(job, part_ids, room)


# A task on a GPU gets a process of its own unless max_calls is set.
@ray.remote(max_calls=MOST_CALLS, max_retries=TASK_RETRIES)  # type: ignore[untyped-decorator]
def run_parts_on_gpu(job: Job, part_ids: list[str], room: Room = Room.SHARE) -> list[PartResult]:
    """Parts on a GPU."""
    return _run_parts(job, part_ids, room)
