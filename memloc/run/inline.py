"""Everything in this process, one thing after the other: for debugging, and the oracle that Ray is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from memloc.data import load
from memloc.run.attempts import attempt_parts, attempt_training
from memloc.run.events import Event, Listener, Outcome
from memloc.run.pending import Work, needs, waves
from memloc.run.retention import prune
from memloc.run.worker import Worker, default_device, never
from memloc.store import Store


def execute(
    works: Sequence[Work],
    store: Store,
    data_dir: Path,
    listener: Listener,
    should_stop: Callable[[], bool] = never,
    device: torch.device | None = None,
) -> Outcome:
    """Carries out the work, trial by trial; stops early, between epochs or parts, once `should_stop` says so.

    device: by default a GPU where there is one.
    """
    worker = Worker(store, lambda name: load(name, data_dir), device or default_device())
    outcome = Outcome({})
    for work in works:
        if should_stop():
            break
        _execute_trial(worker, work, listener, should_stop, outcome)
    outcome.interrupted = should_stop()
    return outcome


def _execute_trial(
    worker: Worker, work: Work, listener: Listener, should_stop: Callable[[], bool], outcome: Outcome
) -> None:
    trial = work.trial
    listener(Event("started", trial.id))
    if work.train != "done":
        training = attempt_training(
            worker, work, lambda t, row: listener(Event("epoch", trial.id, "train", epoch=t)), should_stop
        )
        if training.error:
            outcome.failures[trial.id] = training.error
            listener(Event("failed", trial.id, "train", part_id=trial.id, error=training.error))
        if not training.finished:
            listener(Event("drained", trial.id))
            return
        listener(Event("trained", trial.id, "train", seconds=training.seconds))
    for wave in waves(work.parts):
        possible = [item for item in wave if not any(i in outcome.failures for i in needs(trial, item[0]))]
        stages = {part_id: analysis.stage for analysis, part_id, _ in possible}
        for result in attempt_parts(worker, trial, possible, should_stop):
            stage = stages.pop(result.part_id)
            if result.error:
                outcome.failures[result.part_id] = result.error
                listener(Event("failed", trial.id, stage, part_id=result.part_id, error=result.error))
            else:
                listener(Event("part", trial.id, stage, part_id=result.part_id, seconds=result.seconds))
        if stages:  # not begun, because of the order to stop
            listener(Event("drained", trial.id))
            return
    if not any(i in outcome.failures for i in trial.part_ids):
        prune(worker.store, work)
    listener(Event("finished", trial.id))
