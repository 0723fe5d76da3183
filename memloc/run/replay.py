"""Trains a committed training again, because checkpoints of it are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memloc.config import canonical_json
from memloc.errors import DamagedError, ReplayError
from memloc.run.arithmetic import arithmetic
from memloc.run.execution import as_planned
from memloc.run.given_weights import encoded
from memloc.run.kinds import check_kind
from memloc.run.plan import TrialPlan
from memloc.run.provenance import numerics, where
from memloc.run.retention import lost_epochs
from memloc.run.state_fit import fit_of
from memloc.run.worker import Worker, never
from memloc.stages.training.loop import Epoch, train
from memloc.store import Commit, checkpoints, layout
from memloc.store.commit_form import CheckpointEntry
from memloc.store.entries import look_at
from memloc.store.resumable import usable_states


@dataclass(frozen=True)
class Lost:
    """The epochs whose checkpoints a committed training has lost."""

    commit: Commit
    epochs: set[int]


def replay(
    worker: Worker,
    trial: TrialPlan,
    lost: Lost,
    on_epoch: Callable[[int, Mapping[str, Any]], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Trains again from the nearest intact state and puts lost checkpoints back; False if `should_stop` was true first.

    on_epoch: as for `run_training`.

    Raises:
        ReplayError: an epoch's checkpoint has another hash than the committed one.
        MiscommittedError: and the committed one is none of this network.
        OtherKindError: the device is of another kind than the committed training's.
    """
    expected = {c.epoch: c for c in lost.commit.checkpoints}
    if trial.config.given_from is not None:
        _copy_again(worker, trial, lost, expected)
        return True
    check_kind(lost.commit, worker.device)
    after = _nearest(worker, trial, lost, expected)
    if after is not None:
        on_epoch(after.epoch, {})
    clock = time.perf_counter()
    for epoch in train(trial.config, worker.data(trial), worker.device, after):
        row = {} if epoch.row is None else {**epoch.row, "seconds": time.perf_counter() - clock}
        epoch.wait()
        content = checkpoints.encode(epoch.weights)
        entry = expected[epoch.epoch]
        if layout.sha256(content) != entry.sha256:
            now = where(worker.device) | {"arithmetic": arithmetic(worker.device)}
            # Another version of a library may give a network other weights, and so may what a file of the user's imports.
            same = lost.commit.where.get("versions") == now["versions"] and not trial.config.model.startswith("python:")
            checkpoints.check_committed(worker.store.files, entry, content if same else None)
            raise ReplayError(
                f"trial {trial.id}, epoch {epoch.epoch}: training again gave another checkpoint; "
                f"{differences(lost.commit.where, now)}"
            )
        if epoch.epoch in lost.epochs:
            worker.store.files.put(entry.path, content)
        on_epoch(epoch.epoch, row)
        if epoch.epoch >= max(lost.epochs):
            return True
        if should_stop():
            return False
        clock = time.perf_counter()
    return True


def _copy_again(worker: Worker, trial: TrialPlan, lost: Lost, committed: Mapping[int, CheckpointEntry]) -> None:
    """Puts lost checkpoints back that memloc has not made."""
    for epoch, content in encoded(trial, worker.data(trial)):
        if epoch in lost.epochs:
            if layout.sha256(content) != committed[epoch].sha256:
                checkpoints.check_committed(worker.store.files, committed[epoch], content)
                raise ReplayError(f"trial {trial.id}, epoch {epoch}: its file gives another checkpoint than before")
            worker.store.files.put(committed[epoch].path, content)


def _nearest(worker: Worker, trial: TrialPlan, lost: Lost, committed: Mapping[int, CheckpointEntry]) -> Epoch | None:
    """The newest intact state before the first lost epoch; None where there is none: then it trains from the start."""
    files, bits = worker.store.files, numerics(worker.device)
    misfit = fit_of(trial.config, lambda: worker.data(trial))
    for found, _ in usable_states(trial.id, files.listing(layout.checkpoints(trial.id)), (), bits):
        if found >= min(lost.epochs):
            continue
        if (state := checkpoints.load_state(files, trial.id, found, bits, misfit)) is None:
            continue
        try:
            weights = checkpoints.read(files, committed[found])
        except DamagedError:
            continue
        return Epoch(found, weights, state.momentum, state.dynamics, scaler=state.scaler)
    return None


def heal(worker: Worker, trial: TrialPlan, epoch: int) -> None:
    """Puts back a checkpoint that a part has found lost or damaged, those before it that are missing, and all damaged ones.

    A training on another kind of device may have written over many of them. To find them one by one would take as many
    trainings.
    """
    commit = worker.store.commit(trial.id)
    if commit is None:
        raise RuntimeError(f"training {trial.id} is not committed")
    if trial.config.given_from is None:
        check_kind(commit, worker.device)
    files = worker.store.files
    sizes = files.listing(layout.checkpoints(trial.id))
    missing = lost_epochs(commit, sizes, set(), checkpoints.read_pruned(files, trial.id))
    whole = [entry for entry in commit.checkpoints if sizes.get(entry.path) == entry.size]
    changed = {entry.epoch for entry in whole if look_at(files, entry)[1]}
    with as_planned(trial, "train"):
        replay(worker, trial, Lost(commit, {epoch, *changed, *(t for t in missing if t < epoch)}), lambda *_: None, never)


def differences(committed: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What the two records of where something was computed differ in: `committed under …, now under …`."""
    one, other = _flat(committed), _flat(now)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    if not names:
        return "its device, versions and environment are the same as when it was committed"
    before, after = ({name: record.get(name) for name in names} for record in (one, other))
    return f"committed under {canonical_json(before)}, now under {canonical_json(after)}"


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
