"""Writes one training and its complete analyses into a bundle (bundle.py)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import IO

from memloc.store import Store, bundle, checkpoints, footers, generation_rows, layout, schemas
from memloc.store.bundle import Manifest, Member
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.commits import Snapshot
from memloc.store.completeness import complete_of
from memloc.store.entries import Listed, read_entry
from memloc.version import VERSION

DATE = (1980, 1, 1, 0, 0, 0)  # of every member: equal content is an equal file
MODE = 0o100644 << 16  # a regular file


@dataclass(frozen=True)
class Export:
    """What a bundle will have: its manifest, and for every file in it how its bytes are read.

    analyses, checkpoints: how many there are of each.
    """

    manifest: Manifest
    analyses: int
    checkpoints: int
    _reads: Sequence[Callable[[], bytes]]

    def write(self, file: IO[bytes]) -> None:
        """Writes the bundle; StoreError where a file of the store is not what was committed."""
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            content = json.dumps(asdict(self.manifest), sort_keys=True, indent=1).encode()
            archive.writestr(_info(bundle.MANIFEST), content)
            for member, read in zip(self.manifest.files, self._reads, strict=True):
                archive.writestr(_info(member.path), read())


def _info(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, DATE)
    info.external_attr = MODE
    info.create_system = 3  # as on Linux, wherever it is written
    return info


def plan(store: Store, snapshot: Snapshot, training: Commit) -> Export:
    """What a training's bundle will have: its commits, all files that they list, and the checkpoints that are kept.

    Raises:
        StoreError: where a file is not what was committed.
    """
    files = store.files
    analyses = complete_of(snapshot.every.of_trials({training.trial}))
    reads: dict[Member, Callable[[], bytes]] = {}

    def add(entry: Listed, read: Callable[[], bytes]) -> None:
        reads[Member(entry.path, entry.size, entry.sha256)] = read

    commits = []
    for part in [training, *(part for _, parts in sorted(analyses.items()) for part in parts)]:
        commit, own = _with_own_files(store, part) if part.id in snapshot.covered else (part, {})
        for entry in commit.files:
            add(entry, own.get(entry.path) or _reader(store, entry))
        content = commit.encode() if part.id in snapshot.covered else files.get(snapshot.paths[part.id])
        commits.append((Member(layout.commit(part.id, content), len(content), layout.sha256(content)), content))
    pruned = checkpoints.read_pruned(files, training.trial)
    kept = [e for e in training.checkpoints if e.epoch not in pruned or files.size(e.path) is not None]
    for weights in kept:
        add(weights, _reader(store, weights))
    for member, content in commits:
        reads[member] = _constant(content)
    manifest = Manifest(training.trial, str(training.part["data"]), dict(training.config), tuple(reads), VERSION)
    return Export(manifest, len(analyses), len(kept), list(reads.values()))


def _reader(store: Store, entry: Listed) -> Callable[[], bytes]:
    return lambda: read_entry(store.files, entry)


def _constant(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _with_own_files(store: Store, commit: Commit) -> tuple[Commit, dict[str, Callable[[], bytes]]]:
    """A commit that a generation covers, with data files of its own again: (commit, {path: reads the file}).

    The rows are the same, and so are the bytes if the same version of Arrow writes them.
    """
    entries, reads = [], {}
    for entry in commit.files:
        content = schemas.written(generation_rows.read_rows(store.files, entry, commit.id))
        path, footer = layout.data(entry.table, commit.id, content), layout.sha256(footers.footer(content))
        sizes = entry.rows, len(content)
        entries.append(FileEntry(entry.table, path, *sizes, layout.sha256(content), entry.schema, footer))
        reads[path] = _constant(content)
    return replace(commit, files=tuple(entries)), reads
