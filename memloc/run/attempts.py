"""What follows a failed computation: a second try, then a record of the failure. Everything else goes on.

A fault of the storage is no failure of what was computed. The store has waited for it until its patience ended.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TypeVar

import torch

from memloc.errors import DamagedError, DeviceError, StorageError, StoreError, error_line
from memloc.run.events import PartResult, TrainingResult
from memloc.run.parts import run_parts
from memloc.run.pending import Item, Work
from memloc.run.plan import TrialPlan
from memloc.run.trainer import OnEpoch, run_training
from memloc.run.trial_step import refused_operation, without_algorithm
from memloc.run.worker import Worker, never
from memloc.store import Store, records
from memloc.store.records import Failure

ATTEMPTS = 2  # a failed part is tried once more, then recorded
T = TypeVar("T")


@dataclass(frozen=True)
class Attempted:
    """A part that is tried. part_id: for a training the id of the trial."""

    part_id: str
    trial: str
    stage: str

    def record_failure(self, store: Store, text: str, line: str) -> None:
        """Writes the failure into the store, if it takes it. text: the traceback. line: the error in one line."""
        with suppress(StoreError):  # the launch tells of the failure nevertheless
            records.record_failure(store.files, Failure(self.part_id, self.trial, self.stage, text, line))


def attempt(worker: Worker, part: Attempted, action: Callable[[], T], tries: int = ATTEMPTS) -> tuple[T | None, str]:
    """(result, "") of an action, tried twice; or (None, error line) after its failure has been recorded.

    Raises:
        StorageError: as the action. DeviceError: the device has failed; every other action would fail too.
    """
    for n in range(tries):
        try:
            return action(), ""
        except (StorageError, DeviceError):
            raise
        except torch.AcceleratorError as error:  # memory that ran out is another error
            raise _device_error(error) from error
        except Exception as error:  # whatever a part raises is recorded with its traceback, and the rest goes on
            if n == tries - 1:
                line = error_line(error)
                if isinstance(error, DamagedError):
                    line = worker.store.set_aside(error)
                if operation := refused_operation(error):
                    line = without_algorithm(operation)
                part.record_failure(worker.store, traceback.format_exc(), line)
        worker.forget()  # not in the handler: its traceback holds everything that the attempt has allocated
    return None, line


def _device_error(error: torch.AcceleratorError) -> DeviceError:
    return DeviceError(f"{error_line(error)}; this process cannot use the device any more")


def attempt_training(
    worker: Worker, work: Work, on_epoch: OnEpoch = lambda *_: None, should_stop: Callable[[], bool] = never
) -> TrainingResult:
    """Trains to the commit, or until `should_stop` says so."""
    clock = time.perf_counter()
    trial = work.trial.id
    finished, error, storage = None, "", ""
    try:
        finished, error = attempt(
            worker, Attempted(trial, trial, "train"), lambda: run_training(worker, work, on_epoch, should_stop)
        )
    except StorageError as fault:
        storage = str(fault)
    return TrainingResult(bool(finished), time.perf_counter() - clock, error, storage)


def attempt_parts(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool] = never
) -> Iterator[PartResult]:
    """A result for each part as it ends; none is begun once `should_stop` says so.

    The parts of one analysis are tried together. If that fails, the remaining parts are tried one by one. If the storage
    fails, no more parts are begun.
    """
    left = [part_id for _, part_id, _ in items]
    try:
        for result in _attempted(worker, trial, items, should_stop):
            left.remove(result.part_id)
            yield result
    except StorageError as fault:
        yield PartResult(left[0], storage=str(fault))


def _attempted(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool]
) -> Iterator[PartResult]:
    for _, bunch in groupby(items, key=lambda item: item[0].id):
        left, failed = list(bunch), False
        while left and not failed and not should_stop():
            try:
                for result in run_parts(worker, trial, left):
                    left = [item for item in left if item[1] != result.part_id]
                    yield result
                    if should_stop():
                        break
            except StorageError:
                raise
            except torch.AcceleratorError as error:  # to free its memory would fail too
                raise _device_error(error) from error
            except Exception:  # the second try says what it is
                failed = True
        if failed:
            worker.forget()
            yield from _one_by_one(worker, trial, left, should_stop)


def _one_by_one(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool]
) -> Iterator[PartResult]:
    for item in items:
        if should_stop():
            return
        analysis, part_id, _ = item
        attempted = Attempted(part_id, trial.id, analysis.stage)
        results, error = attempt(worker, attempted, partial(_at_once, worker, trial, item), ATTEMPTS - 1)
        yield results[0] if results else PartResult(part_id, error=error)


def _at_once(worker: Worker, trial: TrialPlan, item: Item) -> list[PartResult]:
    """The result of one part, computed and committed now."""
    return list(run_parts(worker, trial, [item]))
