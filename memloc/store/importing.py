"""Puts a bundle's trainings and analyses into a store: files first, then the commits, a training's last.

So readers show either nothing of a training or all of it. Records of sweeps come before everything, so that nothing of them
counts as needed by nobody. Whatever is there already stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from memloc.errors import UsageError
from memloc.store import Store, checkpoints, layout
from memloc.store.bundle import Bundle, Packed
from memloc.store.commit_form import CheckpointEntry, Commit
from memloc.store.commits import Snapshot


@dataclass(frozen=True)
class Missing:
    """What of a training a store lacks: data files (and networks that parts made), checkpoints, and commits, the
    training's last.
    """

    training: Commit
    data: Sequence[str]
    weights: Sequence[CheckpointEntry]
    commits: Sequence[Commit]

    @property
    def anything(self) -> bool:
        """Is there anything to write?"""
        return bool(self.data or self.weights or self.commits)


@dataclass(frozen=True)
class Import:
    """What of a bundle a store lacks. records: their paths."""

    records: Sequence[str]
    trials: Sequence[Missing] = field(default_factory=tuple)

    @property
    def anything(self) -> bool:
        """Is there anything to write?"""
        return bool(self.records or self.trials)

    @property
    def checkpoints(self) -> int:
        """How many checkpoints it writes."""
        return sum(len(missing.weights) for missing in self.trials)

    @property
    def analyses(self) -> int:
        """Of how many analyses it writes parts."""
        return len({commit.analysis for missing in self.trials for commit in missing.commits} - {None})


def plan(store: Store, bundle: Bundle, snapshot: Snapshot) -> Import:
    """What is to be written.

    Raises:
        UsageError: the store has the same training with other weights, since another processor rounded them.
    """
    there = store.files.listing(layout.SWEEPS) if bundle.records else {}
    every = [_missing(store, bundle, packed, snapshot) for packed in bundle.trials.values()]
    return Import([path for path in bundle.records if path not in there], [one for one in every if one.anything])


def _missing(store: Store, bundle: Bundle, packed: Packed, snapshot: Snapshot) -> Missing:
    training = packed.training
    here = snapshot.commits.get(training.id)
    if here is not None and _hashes(here) != _hashes(training):
        raise UsageError(
            f"trial {training.id}: store {store.uri} has it with other weights: another processor or another version of a "
            "library trained it; valid: a store without it"
        )
    weights = [entry for entry in training.checkpoints if entry.path in bundle.members]
    if here is not None and weights:
        sizes = store.files.listing(layout.checkpoints(training.trial))
        weights = [entry for entry in weights if sizes.get(entry.path) != entry.size]
    commits = [commit for commit in (*packed.analyses, training) if commit.id not in snapshot.commits]
    return Missing(training, [file.path for commit in commits for file in commit.needed], weights, commits)


def _hashes(training: Commit) -> list[tuple[int, str]]:
    return [(entry.epoch, entry.sha256) for entry in training.checkpoints]


def carry_out(store: Store, bundle: Bundle, what: Import) -> None:
    """Writes it. If it is ended half-way, the same again goes on."""
    for path in what.records:
        store.files.put(path, bundle.read(path))
    for missing in what.trials:
        _write(store, bundle, missing)


def _write(store: Store, bundle: Bundle, missing: Missing) -> None:
    files, training = store.files, missing.training
    for path in (*missing.data, *(entry.path for entry in missing.weights)):
        files.put(path, bundle.read(path))
    there = training not in missing.commits
    if missing.weights or not there:
        checkpoints.note_absent(files, training.trial, training.checkpoints, there)
    for commit in missing.commits:
        path = bundle.paths[commit.id]
        files.put(path, bundle.read(path))
