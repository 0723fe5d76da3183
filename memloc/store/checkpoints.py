"""Checkpoints as safetensors, and the newest state from which a training resumes. Nothing is ever unpickled.

Only what reads or writes tensors imports torch: a plan, a driver and `store verify` look at files.
"""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from memloc.data.declared import total_memory
from memloc.errors import DamagedError, MiscommittedError, StorageError, StoreError, error_line
from memloc.invocation import command
from memloc.store import documents, layout
from memloc.store.commit_form import CheckpointEntry
from memloc.store.entries import look_at, read_entry
from memloc.store.files import Files, TooLargeError
from memloc.store.resumable import surplus_states, usable_states
from memloc.store.state_form import NO_STATE, Misfit, ResumeState, state_in

if TYPE_CHECKING:
    from torch import Tensor

REPLAYED = "the next sweep that needs it trains it again"


def encode(weights: Mapping[str, Tensor]) -> bytes:
    """The safetensors bytes of weights: {name: tensor}."""
    from safetensors.torch import save

    content: bytes = save(dict(weights))
    return content


def entry(trial: str, epoch: int, content: bytes) -> CheckpointEntry:
    """What a commit lists for a checkpoint with these bytes."""
    return CheckpointEntry(epoch, layout.checkpoint(trial, epoch), len(content), layout.sha256(content))


def read(files: Files, entry: CheckpointEntry) -> dict[str, Tensor]:
    """The weights of a committed checkpoint, its hash checked.

    Raises:
        DamagedError: where it is missing or is not what was committed.
    """
    if files.patience.settled(lambda: files.size(entry.path)) is None:
        problem = f"store {files.uri}: {entry.path} is missing: it was pruned, as a sweep was told, or it is lost"
        raise DamagedError(problem, entry.path, REPLAYED)
    try:
        return _decoded(read_entry(files, entry))
    except ValueError as error:  # somebody has committed it so
        raise DamagedError(f"store {files.uri}: {entry.path} {error}", entry.path, REPLAYED) from None


def _decoded(content: bytes) -> dict[str, Tensor]:
    """The weights in the bytes of a checkpoint; ValueError, with a phrase, where they are none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        weights: dict[str, Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"is no safetensors file: {error_line(error)}") from None
    return weights


def check_committed(files: Files, entry: CheckpointEntry, right: bytes | None) -> None:
    """Raises MiscommittedError where a training's commit lists a file that cannot be a checkpoint of its network.

    right: a checkpoint of this network; None where the network that was committed may have been another one. Nothing is
    known of a file that is gone, also from quarantine.
    """
    paths = (entry.path, layout.quarantine(entry.path))
    found = [content for path in paths if (content := look_at(files, replace(entry, path=path))[0]) is not None]
    if not found:
        return
    try:
        weights = _decoded(found[0])
        fits = right is None or _shapes(weights) == _shapes(_decoded(right))
        wrong = None if fits else "has the weights of another network"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        problem = f"store {files.uri}: {entry.path} was committed as a checkpoint, and {wrong}"
        remedy = (
            f"{command('store rm SWEEP', files.uri)} removes the sweep whose training it is; then that sweep trains it again"
        )
        raise MiscommittedError(problem, entry.path, remedy)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}


def save_resume(files: Files, trial: str, state: ResumeState, old: Collection[str]) -> str:
    """Writes the state, then removes the `old` ones; returns its path."""
    import torch

    buffer = io.BytesIO()
    fields = {"rows": state.rows, "entries": [vars(e) for e in state.entries], "numerics": state.numerics}
    extra = json.dumps(fields | ({"scaler": state.scaler} if state.scaler else {}))
    torch.save({"epoch": state.epoch, "momentum": state.momentum, "dynamics": state.dynamics, "extra": extra}, buffer)
    content = buffer.getvalue()
    path = layout.resume_state(trial, state.epoch, state.numerics, content)
    files.put(path, content)
    for stale in old:
        if stale != path:
            files.delete(stale)
    return path


def resume_states(files: Files, trial: str) -> list[str]:
    """The paths of a training's resume states, in no order."""
    return [p for p in files.listing(layout.checkpoints(trial)) if layout.is_resume_state(p)]


def _nothing(state: ResumeState, weights: Mapping[str, Tensor] | None) -> str | None:
    """Every state fits."""
    return None


def load_resume(
    files: Files, trial: str, needed: Collection[int], numerics: str, misfit: Misfit = _nothing
) -> tuple[ResumeState, dict[str, Tensor]] | None:
    """The newest intact (state, weights after its epoch), or None if the training must start afresh.

    needed: the checkpoints that must be there up to the state's epoch. If one is missing, the state is passed over.
    numerics: what the bits depend on here. States with other numerics are passed over, and those of which `misfit` says what
    does not fit.
    """
    sizes = files.listing(layout.checkpoints(trial))
    for _, path in usable_states(trial, sizes, needed, numerics):
        state = _read_state(files, trial, path)
        if state is None:
            continue
        if any(sizes.get(e.path) != e.size for e in state.entries if e.epoch in needed):
            continue
        try:
            weights = read(files, state.entries[-1])
        except StorageError:  # nothing is wrong with it, and a fresh start would meet the same fault
            raise
        except StoreError:
            continue
        if _fits(files, path, misfit(state, weights)):
            return state, weights
    return None


def load_state(files: Files, trial: str, epoch: int, numerics: str, misfit: Misfit = _nothing) -> ResumeState | None:
    """The intact state after an epoch; None if there is none. misfit: as for `load_resume`."""
    for found, path in usable_states(trial, files.listing(layout.checkpoints(trial)), (), numerics):
        state = _read_state(files, trial, path) if found == epoch else None
        if state is not None and _fits(files, path, misfit(state, None)):
            return state
    return None


def _fits(files: Files, path: str, wrong: str | None) -> bool:
    if wrong:
        files.on_odd({path: f"is no state of this training ({wrong})"})
    return not wrong


def prune_states(files: Files, trial: str) -> None:
    """Removes all resume states of a committed training but the newest."""
    for path in surplus_states(files.listing(layout.checkpoints(trial))):
        files.delete(path)


def withdraw(
    files: Files, trial: str, own: Collection[CheckpointEntry], committed: Collection[CheckpointEntry], numerics: str
) -> None:
    """Removes what a training has written if another one, whose bits are others, was committed meanwhile.

    Such a checkpoint has the name and the size of the committed one. Left there, it would count as the committed one until
    somebody reads it. Removed, it counts as lost, and the next plan trains it again.

    own: the checkpoints that it has written. numerics: those of its states, from which nothing can go on any more.
    """
    counts = {entry.epoch: entry.sha256 for entry in committed}
    unlike = [entry for entry in own if counts.get(entry.epoch, entry.sha256) != entry.sha256]
    for entry in unlike:
        with suppress(TooLargeError):  # somebody else has written it since
            content = files.find(entry.path, entry.size)
            if content is not None and layout.sha256(content) == entry.sha256:
                files.delete(entry.path)
    states = resume_states(files, trial) if unlike else []
    for path in states:
        named = layout.resume_state_of(path)
        if named is not None and named[1] == layout.sha8(numerics.encode()):
            files.delete(path)


def _read_state(files: Files, trial: str, path: str) -> ResumeState | None:
    """The state in a file; None where it is damaged: an older state, or a fresh start, gives the same result."""
    try:
        content = files.find(path, total_memory())
        if content is None or not path.endswith(f"-{layout.sha8(content)}.pt"):
            return None
        return state_in(trial, path, content)
    except NO_STATE as error:
        files.on_odd({path: f"is no state of a training ({error_line(error)})"})
        return None


def read_pruned(files: Files, trial: str, paths: Iterable[str] | None = None, missing: Collection[int] = ()) -> set[int]:
    """The epochs whose checkpoints retention has removed on purpose.

    paths: the files of the training, if they are known. missing: the epochs whose checkpoints are not there. If just these
    were removed, the name of the file says so, and it is not read.
    """
    listed = files.listing(layout.checkpoints(trial)) if paths is None else paths
    guess = layout.pruned(trial, _pruned_content(missing))
    epochs: set[int] = set()
    for path in filter(layout.is_pruned, listed):
        epochs |= set(missing) if path == guess else _pruned_in(files, path)
    return epochs


def _pruned_content(epochs: Collection[int]) -> bytes:
    return json.dumps(sorted(epochs)).encode()


def _pruned_in(files: Files, path: str) -> set[int]:
    try:
        content = files.find(path, documents.LARGEST)
        if content is not None and not layout.is_intact_list(path, content):
            raise ValueError("its content does not match its name")
        return set() if content is None else set(documents.checked(TypeAdapter(list[documents.Count]), content))
    except ValueError as error:
        files.on_odd({path: f"is no list of epochs ({error})"})
        return set()


def prune(files: Files, trial: str, entries: Collection[CheckpointEntry], keep: Collection[int]) -> None:
    """Removes the checkpoints of all epochs but `keep`. Their epochs are recorded first, so they do not count as lost.

    Where a disk is too full for that record, one of them goes first: nothing else may be left that makes room.
    """
    sizes = files.listing(layout.checkpoints(trial))
    here = {e.epoch for e in entries if e.path in sizes}
    before = read_pruned(files, trial, sizes)
    gone = {e.epoch for e in entries} - set(keep) | (before - here)
    going = [e.path for e in sorted(entries, key=lambda e: e.epoch) if e.epoch in gone and e.path in sizes]
    _record_pruned(files, trial, gone, sizes, going)
    for path in going:
        files.delete(path)


def note_absent(files: Files, trial: str, entries: Collection[CheckpointEntry], there: bool) -> None:
    """Records which checkpoints of an imported training are not here, so they do not count as lost.

    there: the training was here before. What it had lost stays lost, and what has come back does not count as pruned.
    """
    sizes = files.listing(layout.checkpoints(trial))
    absent = {e.epoch for e in entries if e.path not in sizes}
    _record_pruned(files, trial, absent & read_pruned(files, trial, sizes) if there else absent, sizes)


def _record_pruned(
    files: Files, trial: str, epochs: Collection[int], paths: Collection[str], going: Sequence[str] = ()
) -> None:
    """Replaces the records of what is pruned. paths: what lies in the training's folder. going: what goes next."""
    path, records = layout.pruned(trial, _pruned_content(epochs)), set(filter(layout.is_pruned, paths))
    if path not in records and (epochs or records):
        _put_making_room(files, path, _pruned_content(epochs), going)
    for old in records - {path}:
        files.delete(old)


def _put_making_room(files: Files, path: str, content: bytes, going: Sequence[str]) -> None:
    """Writes a file. On a full disk it first removes what goes anyway, one after the other, until there is room.

    A process that is killed just then leaves a checkpoint that counts as lost. So the first epochs go first: to train them
    again takes least.
    """
    for other in going:
        try:
            with files.patience.suspended():
                return files.put(path, content)
        except StorageError as error:
            if getattr(error.__cause__, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
                break
        files.delete(other)
    return files.put(path, content)
