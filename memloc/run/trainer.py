"""One training, from the state that an earlier run has reached to its commit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.run.execution import as_planned
from memloc.run.given_weights import copy_given
from memloc.run.pending import Work
from memloc.run.plan import TrialPlan
from memloc.run.provenance import numerics
from memloc.run.replay import Lost, replay
from memloc.run.retention import lost_epochs
from memloc.run.state_fit import fit_of
from memloc.run.training_commit import Course, commit_training
from memloc.run.worker import Worker, never, set_up_numerics
from memloc.run.writer import StateWriter
from memloc.stages.training.dynamics import examples_table
from memloc.stages.training.loop import Epoch, train
from memloc.store import Commit, Store, checkpoints, layout
from memloc.store.commit_form import CheckpointEntry

OnEpoch: TypeAlias = Callable[[int, Mapping[str, Any]], None]


def run_training(
    worker: Worker, work: Work, on_epoch: OnEpoch = lambda *_: None, should_stop: Callable[[], bool] = never
) -> bool:
    """Trains to the commit, from the state that an earlier run has reached; False if `should_stop` was true first.

    If the training is committed and every checkpoint is in place, nothing is done, also if another process commits it
    meanwhile. If a checkpoint is lost, the training is replayed.

    on_epoch: called with an epoch and its row of table `epochs`. The first call has the epoch from which the training goes
    on (0 for a new training) and {}.
    """
    with as_planned(work.trial, "train"):
        return _run_training(worker, work, on_epoch, should_stop)


def _run_training(worker: Worker, work: Work, on_epoch: OnEpoch, should_stop: Callable[[], bool]) -> bool:
    trial, store = work.trial, worker.store
    set_up_numerics(trial.config, worker.device)
    commit = store.commit(trial.id)
    if commit is not None:
        sizes = store.files.listing(layout.checkpoints(trial.id))
        lost = lost_epochs(commit, sizes, work.write, checkpoints.read_pruned(store.files, trial.id))
        return not lost or replay(worker, trial, Lost(commit, lost), on_epoch, should_stop)
    if trial.config.given_from is not None:
        copy_given(worker, trial, on_epoch)
        return True
    return _train(worker, work, on_epoch, should_stop)


def _train(worker: Worker, work: Work, on_epoch: OnEpoch, should_stop: Callable[[], bool]) -> bool:
    trial, store, data = work.trial, worker.store, worker.data(work.trial)
    bits = numerics(worker.device)
    after, rows, entries = _resumed(store, work, data, bits)
    overtaken = False  # by a worker that was thought dead, or by the successor of this one
    if after is not None:
        on_epoch(after.epoch, {})
    with StateWriter(store.files, trial.id, work.write, bits, entries, work.states) as writer:
        clock = time.perf_counter()
        for epoch in _epochs_left(trial, data, worker.device, after, rows):
            row = {} if epoch.row is None else {**epoch.row, "seconds": time.perf_counter() - clock}
            if overtaken := store.commit(trial.id) is not None:
                break
            rows += [row] if row else []
            writer.hand_over(epoch, rows)
            after = epoch
            on_epoch(epoch.epoch, row)
            if epoch.epoch < trial.config.epochs and should_stop():
                return False  # what was handed over is written first
            clock = time.perf_counter()
    if overtaken:
        counts = store.commit(trial.id)
    elif after is None:
        raise RuntimeError(f"trial {trial.id}: its training has given no epoch")
    else:
        after.wait()
        counts = _commit_training(worker, work, data, rows, writer.entries, after.dynamics)
    if counts is not None and _is_of_other_bits(counts, writer.entries):
        # Where this device cannot reach them, a part that needs a checkpoint goes where they can be reached.
        checkpoints.withdraw(store.files, trial.id, writer.entries, counts.checkpoints, bits)
        return True
    return run_training(worker, work, on_epoch, should_stop) if overtaken else True


def _is_of_other_bits(commit: Commit, own: Sequence[CheckpointEntry]) -> bool:
    """Whether another training than one's own was committed, as another kind of device computes it."""
    hashes = {entry.epoch: entry.sha256 for entry in commit.checkpoints}
    return any(hashes.get(entry.epoch, entry.sha256) != entry.sha256 for entry in own)


def _resumed(
    store: Store, work: Work, data: Data, bits: str
) -> tuple[Epoch | None, list[dict[str, Any]], list[CheckpointEntry]]:
    """(the state to go on from, the rows up to it, the checkpoints up to it) that an earlier run has left.

    bits: the numerics that the state must have.
    """
    misfit = fit_of(work.trial.config, lambda: data)
    resumed = checkpoints.load_resume(store.files, work.trial.id, work.write, bits, misfit)
    if resumed is None:
        return None, [], []
    state, weights = resumed
    epoch = Epoch(state.epoch, weights, state.momentum, state.dynamics, scaler=state.scaler)
    return epoch, list(state.rows), list(state.entries)


def _stopped(config: TrainConfig, rows: Sequence[Mapping[str, Any]]) -> int | None:
    """The epoch at which `stop` has ended the training; None: it has not. rows: those of table `epochs` so far."""
    rule = config.stop_rule
    return rule.at_epoch if rule is not None and rows and rule.ends(rows[-1]) else None


def _epochs_left(
    trial: TrialPlan, data: Data, device: torch.device, after: Epoch | None, rows: Sequence[Mapping[str, Any]]
) -> Iterator[Epoch]:
    if after is not None and (after.epoch == trial.config.epochs or _stopped(trial.config, rows) is not None):
        return iter(())
    return train(trial.config, data, device, after)


def _commit_training(
    worker: Worker,
    work: Work,
    data: Data,
    rows: list[dict[str, Any]],
    entries: list[CheckpointEntry],
    dynamics: dict[str, torch.Tensor],
) -> Commit:
    """Commits the training, unless it is committed by now; returns the commit that counts."""
    trial = work.trial
    if (faster := worker.store.commit(trial.id)) is not None:
        return faster
    # The pruned epochs are recorded, so that they do not count as lost, and present ones do not count as pruned (by an
    # earlier run of the trial).
    checkpoints.prune(worker.store.files, trial.id, entries, work.write)
    stopped = _stopped(trial.config, rows)
    examples = examples_table(trial.config, data, dynamics, stopped)
    seconds = sum(row["seconds"] for row in rows)
    return commit_training(worker.store, worker.device, trial, data, Course(rows, examples, entries, seconds, stopped))
