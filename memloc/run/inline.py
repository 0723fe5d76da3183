"""The executor that does everything in this process, one thing after the other. It serves debugging and tests of Ray."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import torch

from memloc.data import load
from memloc.run.arithmetic import kind
from memloc.run.attempts import Attempted, attempt_parts, attempt_training
from memloc.run.clock import PricedPlan
from memloc.run.events import Event, Listener, PartResult, Room, TrainingResult
from memloc.run.executor import Capacity
from memloc.run.kinds import failed
from memloc.run.pending import Work
from memloc.run.placement import ONE_BY_ONE
from memloc.run.retention import prune
from memloc.run.schedule import Slots
from memloc.run.trial_run import TrialRun, TrialSteps
from memloc.run.worker import Worker, default_device
from memloc.store import Store, leases
from memloc.store.leases import Holder


class Inline:
    """The executor of one process. device: by default a GPU where there is one. holder: takes leases, if it is given."""

    def __init__(
        self, store: Store, data_dir: Path, device: torch.device | None = None, holder: Holder | None = None
    ) -> None:
        self.holder = holder
        self.worker = Worker(store, lambda source: load(source, data_dir), device or default_device())

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """There is nothing to end."""

    def capacity(self, works: Sequence[Work]) -> Capacity:
        """One slot, which every process holds whole."""
        return Capacity("cuda" if self.worker.device.type == "cuda" else "cpu", Slots(1), ONE_BY_ONE)

    def carry_out(
        self, works: Sequence[Work], plan: PricedPlan, listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Does the works in the plan's order, one after the other, in this process."""
        by_trial = {work.trial.id: work for work in works}
        for cost in plan.trials:
            if should_stop():
                return
            work = by_trial[cost.trial]
            self.worker.store.files.patience.on_wait = partial(_tell_fault, listener, cost.trial)
            steps = TrialSteps(cost.trial, work.train != "done", cost.waves, work.prune)
            elsewhere = leases.taken_by_other(self.worker.store.files, cost.trial, self.holder)
            remove = partial(prune, self.worker.store, work)
            self._drive(TrialRun(steps, lambda wave: [list(wave)], remove, listener, elsewhere), work, should_stop)

    def _trained(self, run: TrialRun, work: Work, should_stop: Callable[[], bool]) -> TrainingResult:
        """The result of the training; where memory runs out, of a second one with less of it."""
        result = attempt_training(self.worker, work, run.reached, should_stop)
        if result.memory:
            run.training_again(result)
            result = attempt_training(self.worker, work, run.reached, should_stop, Room.MOST)
        if result.needs:
            trial = work.trial.id
            return TrainingResult(False, error=self._elsewhere(Attempted(trial, trial, "train"), result.needs))
        return result

    def _elsewhere(self, part: Attempted, needs: str) -> str:
        """The error of a part that needs another kind of device, which is recorded."""
        line = failed(needs, [kind(self.worker.device)], "this machine")
        part.record_failure(self.worker.store, line, line)
        return line

    def _drive(self, run: TrialRun, work: Work, should_stop: Callable[[], bool]) -> None:
        if run.phase == "train":
            run.placed(platform.node())
            run.training_ended(self._trained(run, work, should_stop))
        items = {part_id: (analysis, part_id, part) for analysis, part_id, part in work.parts}
        while run.phase == "analyse":
            left = {part.id: part for part in run.take()}
            room = _room(run, *left)
            for result in attempt_parts(self.worker, work.trial, [items[i] for i in left], should_stop, room):
                part = left.pop(result.part_id)
                if result.memory:
                    run.part_again(part, result)
                    continue
                if result.needs:
                    line = self._elsewhere(Attempted(part.id, work.trial.id, part.stage), result.needs)
                    result = PartResult(part.id, error=line)
                run.part_ended(part.stage, result)
            run.task_ended(list(left.values()))
            if should_stop():
                run.drain()


def _room(run: TrialRun, *part_ids: str) -> Room:
    """What these parts may have of the device: everything, once its memory has run out, as there is nothing beside them."""
    return Room.MOST if run.room(*part_ids) else Room.SHARE


def _tell_fault(listener: Listener, trial: str, fault: str) -> None:
    listener(Event("waiting", trial, error=fault))
