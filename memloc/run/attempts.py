"""What follows a failed computation: a second try, then a record of the failure. Everything else goes on.

A fault of the storage is no failure of what was computed. The store has waited for it until its patience ended. Memory that
runs out is none either, as long as there is more room to be had (`Room`).
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

from memloc.errors import DamagedError, DeviceError, OtherKindError, StorageError, StoreError, error_line
from memloc.interruption import whole_orders
from memloc.models.recomputation import recomputing
from memloc.own_code import staying
from memloc.run.chains import wanted_states
from memloc.run.device_faults import as_device_error, fault_of
from memloc.run.events import PartResult, Room, TrainingResult
from memloc.run.kinds import committed_kind
from memloc.run.memory import card_in_words
from memloc.run.parts import run_parts
from memloc.run.pending import Item, Work
from memloc.run.plan import TrialPlan
from memloc.run.trainer import OnEpoch, run_training
from memloc.run.trial_step import refused_operation, without_algorithm
from memloc.run.worker import Worker, never
from memloc.store import Store, records
from memloc.store.records import Failure

ATTEMPTS = 2  # a failed part is tried once more, then recorded
REMEDY = (
    "nothing that saves memory without changing results is left to try; take a smaller batch_size or width, "
    "precision=bf16, or a GPU with more memory"
)
T = TypeVar("T")


class MemoryRanOutError(Exception):
    """The device's memory ran out, and with more room there is another attempt. It says so in one line."""


@dataclass(frozen=True)
class Attempted:
    """A part that is tried. part_id: for a training the id of the trial. room: what it has of the device."""

    part_id: str
    trial: str
    stage: str
    room: Room = Room.SHARE

    def record_failure(self, store: Store, text: str, line: str) -> None:
        """Writes the failure into the store, if it takes it. text: the traceback. line: the error in one line."""
        with suppress(StoreError):  # the launch tells of the failure nevertheless
            records.record_failure(store.files, Failure(self.part_id, self.trial, self.stage, text, line))


def attempt(worker: Worker, part: Attempted, action: Callable[[], T], tries: int = ATTEMPTS) -> tuple[T | None, str]:
    """(result, "") of an action, tried twice; or (None, error line) after its failure has been recorded.

    Where memory ran out, it is not tried again here: as much would be missing.

    Raises:
        StorageError, OtherKindError: as the action.
        MemoryRanOutError: the device's memory ran out, and there is more room to be had.
        Exception: the device has failed, and every other action would fail too.
    """
    most = f"it was alone on {card_in_words(worker.device)}; {REMEDY}" if part.room is Room.MOST else ""
    for n in range(tries):
        try:
            with whole_orders(), staying():
                return action(), ""
        except (StorageError, DeviceError, OtherKindError):
            raise
        except Exception as error:  # whatever a part raises is recorded with its traceback, and the rest goes on
            fault, line = fault_of(error, worker.device), _line(error)
            if fault == "device":
                raise
            more_room = fault == "memory" and not most
            last = fault == "memory" or n == tries - 1
            if last and not more_room:
                if isinstance(error, DamagedError):
                    line = worker.store.set_aside(error)
                line = f"{line} ({most})" if fault == "memory" else line
                part.record_failure(worker.store, traceback.format_exc(), line)
        worker.forget()  # not in the handler: its traceback holds everything that the attempt has allocated
        if more_room:
            raise MemoryRanOutError(line)
        if last:
            break
    return None, line


def _line(error: Exception) -> str:
    """The error in one line."""
    operation = refused_operation(error)
    return without_algorithm(operation) if operation else error_line(error)


def attempt_training(
    worker: Worker,
    work: Work,
    on_epoch: OnEpoch = lambda *_: None,
    should_stop: Callable[[], bool] = never,
    room: Room = Room.SHARE,
) -> TrainingResult:
    """Trains to the commit, or until `should_stop` says so.

    Raises:
        DeviceError: the device has failed; this process can compute nothing on it any more.
    """
    clock = time.perf_counter()
    trial = work.trial.id
    finished, error, storage, memory, needs, kind = None, "", "", "", "", ""
    try:
        with as_device_error(worker.device), recomputing(room is Room.MOST):
            finished, error = attempt(
                worker, Attempted(trial, trial, "train", room), lambda: run_training(worker, work, on_epoch, should_stop)
            )
            if finished and wanted_states(work.parts):
                commit = worker.store.commit(trial)
                kind = committed_kind(commit) if commit else ""
    except StorageError as fault:
        storage = str(fault)
    except MemoryRanOutError as ran_out:
        memory = str(ran_out)
    except OtherKindError as other:
        needs = other.kind
    return TrainingResult(bool(finished), time.perf_counter() - clock, error, storage, memory, needs, kind)


def attempt_parts(
    worker: Worker,
    trial: TrialPlan,
    items: Sequence[Item],
    should_stop: Callable[[], bool] = never,
    room: Room = Room.SHARE,
) -> Iterator[PartResult]:
    """A result for each part as it ends; none is begun once `should_stop` says so.

    The parts of one analysis are tried together. If that fails, the remaining parts are tried one by one. If the storage
    fails, no more parts are begun.

    Raises:
        DeviceError: the device has failed; this process can compute nothing on it any more.
    """
    left = [part_id for _, part_id, _ in items]
    try:
        with as_device_error(worker.device), recomputing(room is Room.MOST):
            for result in _attempted(worker, trial, items, should_stop, room):
                left.remove(result.part_id)
                yield result
    except StorageError as fault:
        yield PartResult(left[0], storage=str(fault))


def _attempted(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool], room: Room
) -> Iterator[PartResult]:
    for _, bunch in groupby(items, key=lambda item: item[0].id):
        left, failed = list(bunch), False
        while left and not failed and not should_stop():
            try:
                with whole_orders(), staying():
                    for result in run_parts(worker, trial, left):
                        left = [item for item in left if item[1] != result.part_id]
                        yield result
                        if should_stop():
                            break
            except StorageError:
                raise
            except OtherKindError as other:
                yield from (PartResult(part_id, needs=other.kind) for _, part_id, _ in left)
                left = []
            except Exception as error:  # the second try says what it is
                if fault_of(error, worker.device) == "device":  # to free its memory would fail too
                    raise
                failed = True
        if failed:
            worker.forget()
            yield from _one_by_one(worker, trial, left, should_stop, room)


def _one_by_one(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool], room: Room
) -> Iterator[PartResult]:
    for item in items:
        if should_stop():
            return
        analysis, part_id, _ = item
        attempted = Attempted(part_id, trial.id, analysis.stage, room)
        try:
            results, error = attempt(worker, attempted, partial(_at_once, worker, trial, item), ATTEMPTS - 1)
        except MemoryRanOutError as ran_out:
            yield PartResult(part_id, memory=str(ran_out))
        except OtherKindError as other:
            yield PartResult(part_id, needs=other.kind)
        else:
            yield results[0] if results else PartResult(part_id, error=error)


def _at_once(worker: Worker, trial: TrialPlan, item: Item) -> list[PartResult]:
    """The result of one part, computed and committed now."""
    return list(run_parts(worker, trial, [item]))
