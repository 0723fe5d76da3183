"""Puts a bundle's training and analyses into a store: files first, then the commits, the training's last.

So readers show either nothing of it or all of it. Whatever is there already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from memloc.errors import UsageError
from memloc.store import Store, checkpoints, layout
from memloc.store.bundle import Bundle
from memloc.store.commit_form import CheckpointEntry, Commit
from memloc.store.commits import Snapshot


@dataclass(frozen=True)
class Import:
    """What of a bundle a store lacks.

    data: paths of data files. weights: checkpoints. commits: {path: commit}, the training's last.
    """

    data: tuple[str, ...]
    weights: tuple[CheckpointEntry, ...]
    commits: dict[str, Commit]

    @property
    def anything(self) -> bool:
        """Is there anything to write?"""
        return bool(self.data or self.weights or self.commits)


def plan(store: Store, bundle: Bundle, snapshot: Snapshot) -> Import:
    """What is to be written.

    Raises:
        UsageError: the store has the same training with other weights, since another processor rounded them.
    """
    training = bundle.training
    here = snapshot.commits.get(training.id)
    if here is not None and _hashes(here) != _hashes(training):
        raise UsageError(
            f"trial {training.id}: store {store.uri} has it with other weights: another processor or another version of a "
            "library trained it; valid: a store without it"
        )
    missing = {path: commit for path, commit in bundle.commits.items() if commit.id not in snapshot.commits}
    sizes = store.files.listing(layout.checkpoints(training.trial))
    weights = [
        entry
        for entry in training.checkpoints
        if entry.path in bundle.members and (here is None or sizes.get(entry.path) != entry.size)
    ]
    data = tuple(file.path for commit in missing.values() for file in commit.files)
    return Import(data, tuple(weights), missing)


def _hashes(training: Commit) -> list[tuple[int, str]]:
    return [(entry.epoch, entry.sha256) for entry in training.checkpoints]


def carry_out(store: Store, bundle: Bundle, what: Import) -> None:
    """Writes it. If it is ended half-way, the same again goes on: no reader has seen anything of the training yet."""
    files = store.files
    for path in (*what.data, *_paths(what.weights)):
        files.put(path, bundle.read(path))
    if what.weights or bundle.training in what.commits.values():
        checkpoints.note_absent(files, bundle.training.trial, bundle.training.checkpoints)
    for path in what.commits:
        files.put(path, bundle.read(path))


def _paths(entries: Iterable[CheckpointEntry]) -> list[str]:
    return [entry.path for entry in entries]
