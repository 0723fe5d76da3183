"""The commit rule: a part exists when its commit does, and readers see only what a commit lists.

Data files go first, the commit last. Two commits of one part (a retried or duplicated worker) agree in every column
but `seconds`; readers take the smallest name. So correctness needs neither conditional writes, nor an atomic rename,
nor clocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from memloc.errors import StoreError
from memloc.store import layout, schemas
from memloc.store.files import Files


@dataclass(frozen=True)
class FileEntry:
    """A data file of a commit."""

    table: str
    path: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class CheckpointEntry:
    epoch: int
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """Everything about one part that was computed.

    id: the part's. analysis: None for a training. parts: the ids of all the analysis's parts, so that a reader knows
    when it is complete. where: device, versions, git revision. passes: the cost estimate that `seconds` belongs to.
    """

    id: str
    trial: str
    analysis: str | None
    stage: str
    part: Mapping[str, Any]
    parts: Sequence[str]
    config: Mapping[str, Any]
    files: tuple[FileEntry, ...] = ()
    checkpoints: tuple[CheckpointEntry, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    passes: float = 0.0
    schema: int = schemas.VERSION

    def encode(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()

    @staticmethod
    def decode(content: bytes) -> Commit:
        raw = json.loads(content)
        raw["files"] = tuple(FileEntry(**f) for f in raw["files"])
        raw["checkpoints"] = tuple(CheckpointEntry(**c) for c in raw["checkpoints"])
        return Commit(**raw)


def publish_tables(files: Files, part_id: str, tables: Mapping[str, Mapping[str, Any]]) -> tuple[FileEntry, ...]:
    """Writes the data files of a part (not yet visible to anybody)."""
    entries = []
    for table, columns in tables.items():
        content, rows = schemas.encode(table, columns)
        path = layout.data(table, part_id, content)
        files.put(path, content)
        entries.append(FileEntry(table, path, rows, len(content), layout.sha256(content)))
    return tuple(entries)


def publish(files: Files, commit: Commit) -> str:
    """Writes the commit: from now on the part exists. Returns its path."""
    content = commit.encode()
    path = layout.commit(commit.id, content)
    files.put(path, content)
    return path


def exists(files: Files, part_id: str) -> bool:
    """Is there an intact commit of this part?"""
    found = files.listing(layout.commit_folder(part_id))
    return any(layout.is_intact(p, _get(files, p)) for p in found if layout.is_commit_of(p, part_id))


def _get(files: Files, path: str) -> bytes:
    try:
        return files.get(path)
    except FileNotFoundError:
        return b""  # moved to quarantine since it was listed: as good as not there


@dataclass
class Snapshot:
    """What a store held at one moment.

    commits: {part id: the commit that readers take}; paths: {part id: its path}; broken: commit files whose content
    does not match their name, which readers pass over.
    """

    commits: dict[str, Commit]
    paths: dict[str, str]
    broken: list[str]

    def complete(self, analysis_parts: Iterable[str]) -> bool:
        return all(part in self.commits for part in analysis_parts)

    def analyses(self) -> dict[str, list[Commit]]:
        """{analysis id: its commits in the order of its parts}, complete analyses only."""
        found: dict[str, list[Commit]] = {}
        for commit in self.commits.values():
            if commit.analysis and commit.analysis not in found and self.complete(commit.parts):
                found[commit.analysis] = [self.commits[part] for part in commit.parts]
        return found

    def trainings(self) -> dict[str, Commit]:
        return {c.trial: c for c in self.commits.values() if c.analysis is None}


def snapshot(files: Files) -> Snapshot:
    """Reads every commit of the store.

    Raises:
        StoreError: where a commit was written by a later version of memloc.
    """
    result = Snapshot({}, {}, [])
    paths = sorted(files.listing(layout.COMMITS))
    for path, content in zip(paths, files.map(lambda p: _get(files, p), paths), strict=True):
        if not layout.is_intact(path, content):
            if content:
                result.broken.append(path)
            continue
        commit = Commit.decode(content)
        if commit.schema > schemas.VERSION:
            raise StoreError(
                f"store {files.uri}: {path} was written by a later memloc (schema {commit.schema}); update memloc"
            )
        if commit.id not in result.commits:  # paths are sorted: the smallest name wins
            result.commits[commit.id] = commit
            result.paths[commit.id] = path
    return result
