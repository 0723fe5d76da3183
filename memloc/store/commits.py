"""The commit rule: a part exists when its commit does, and readers see only what a commit lists.

Data files go first, the commit last. Two commits of one part (a retried or duplicated worker) agree in every column
but `seconds`; readers take the smallest name. So correctness needs neither conditional writes, nor an atomic rename,
nor clocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from memloc.errors import StoreError
from memloc.invocation import command
from memloc.store import layout, schemas
from memloc.store.files import Files
from memloc.store.schemas import Schemas

VERSION = 2  # the version of the form of commits; raised with any change of it


@dataclass(frozen=True)
class FileEntry:
    """A data file of a commit. schema: the name of its columns and their types (schemas.sha8)."""

    table: str
    path: str
    rows: int
    size: int
    sha256: str
    schema: str = ""


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint of a commit: the weights after an epoch, as a safetensors file. size: bytes."""

    epoch: int
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Commit:
    """Everything about one part that was computed.

    id: the part's. analysis: None for a training. nth, of: its place among the analysis's parts and their number, so that a
    reader knows when the analysis is complete. reads: the analyses whose rows it was computed from. where: device, versions,
    git revision. passes: the cost estimate that belongs to `seconds` (less for a part that shared work). ended: the time in
    seconds since 1970, by the clock of the machine that computed it; 0 in older commits.
    """

    id: str
    trial: str
    analysis: str | None
    stage: str
    part: Mapping[str, Any]
    nth: int
    of: int
    config: Mapping[str, Any]
    reads: tuple[str, ...] = ()
    files: tuple[FileEntry, ...] = ()
    checkpoints: tuple[CheckpointEntry, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    passes: float = 0.0
    ended: float = 0.0
    schema: int = VERSION

    def encode(self) -> bytes:
        """The content of the commit's file."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()

    @staticmethod
    def decode(content: bytes) -> Commit:
        """The commit that these bytes hold.

        Raises:
            ValueError: another version of memloc wrote it, and this one cannot read it.
        """
        try:
            raw = json.loads(content)
            if raw["schema"] > VERSION:
                raise ValueError(f"was written by a later memloc (schema {raw['schema']}); update memloc")
            raw["reads"] = tuple(raw.get("reads", ()))
            raw["files"] = tuple(FileEntry(**f) for f in raw["files"])
            raw["checkpoints"] = tuple(CheckpointEntry(**c) for c in raw["checkpoints"])
            return Commit(**raw)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError("was written by another version of memloc") from error


def problem(entry: FileEntry | CheckpointEntry, content: bytes | None) -> str | None:
    """What is wrong with a committed file's content (None: no such file), or None."""
    if content is None:
        return "is missing"
    if len(content) != entry.size:
        return f"has {len(content)} bytes, was committed with {entry.size}"
    return None if layout.sha256(content) == entry.sha256 else "was changed since it was committed"


def read_entry(files: Files, entry: FileEntry | CheckpointEntry) -> bytes:
    """A committed file, its hash checked.

    Raises:
        StoreError: where it is not what was committed.
    """
    content = files.find(entry.path)
    if (wrong := problem(entry, content)) or content is None:
        raise damaged(files, entry.path, wrong)
    return content


def damaged(files: Files, path: str, wrong: str | None) -> StoreError:
    """The error for a file that is not as committed. wrong: what `problem` says about it."""
    remedy = f"run {command('store verify', files.uri)}, then the sweep again"
    return StoreError(f"store {files.uri}: {path} {wrong}; {remedy}")


def publish_tables(
    files: Files, part_id: str, tables: Mapping[str, Mapping[str, Any]], known: Schemas
) -> tuple[FileEntry, ...]:
    """Writes the data files of a part (not yet visible to anybody); known: the schemas of its tables."""
    entries = []
    for table, columns in tables.items():
        content, rows = schemas.encode(table, columns, known[table])
        path = layout.data(table, part_id, content)
        files.put(path, content)
        entries.append(FileEntry(table, path, rows, len(content), layout.sha256(content), schemas.sha8(known[table])))
    return tuple(entries)


def publish(files: Files, commit: Commit) -> str:
    """Writes the commit: from now on the part exists. Returns its path."""
    content = commit.encode()
    path = layout.commit(commit.id, content)
    files.put(path, content)
    return path


def parse(files: Files, path: str, content: bytes) -> Commit:
    """The commit of an intact file.

    Raises:
        StoreError: where it was written by a later version of memloc.
    """
    try:
        return Commit.decode(content)
    except ValueError as error:
        raise StoreError(f"store {files.uri}: {path} {error}") from None


def read(files: Files, path: str) -> Commit | None:
    """A commit, or None if the file is gone (it may have been set aside since it was listed) or damaged."""
    content = files.find(path)
    return parse(files, path, content) if content is not None and layout.is_intact(path, content) else None


def find(files: Files, part_id: str) -> Commit | None:
    """The commit of a part that readers take, or None."""
    paths = sorted(p for p in files.listing(layout.commit_folder(part_id)) if layout.is_commit_of(p, part_id))
    return next((commit for path in paths if (commit := read(files, path))), None)


@dataclass
class Snapshot:
    """The content of a store at one moment.

    commits: {part id: the commit that readers take}. paths: {part id: its path}. broken: commit files whose content does not
    match their name; readers pass over them. unreadable: {commit file: why} of the commits of other versions of memloc.
    """

    commits: dict[str, Commit]
    paths: dict[str, str]
    broken: list[str]
    unreadable: dict[str, str] = field(default_factory=dict)

    def complete(self, analysis_parts: Iterable[str]) -> bool:
        """Are all these parts committed?"""
        return all(part in self.commits for part in analysis_parts)

    def analyses(self) -> dict[str, list[Commit]]:
        """{analysis id: its commits in the order of its parts}, complete analyses only."""
        parts_of: dict[str, dict[int, Commit]] = {}
        for commit in self.commits.values():
            if commit.analysis:
                parts_of.setdefault(commit.analysis, {})[commit.nth] = commit
        return {
            analysis: [parts[n] for n in sorted(parts)]
            for analysis, parts in parts_of.items()
            if len(parts) == next(iter(parts.values())).of
        }

    def tables(self) -> dict[str, tuple[int, int]]:
        """{table: (rows, bytes of its files)} of what is committed, sorted by name."""
        sizes: dict[str, tuple[int, int]] = {}
        for file in (file for commit in self.commits.values() for file in commit.files):
            rows, size = sizes.get(file.table, (0, 0))
            sizes[file.table] = rows + file.rows, size + file.size
        return dict(sorted(sizes.items()))

    def trainings(self) -> dict[str, Commit]:
        """{trial: the commit of its training}."""
        return {c.trial: c for c in self.commits.values() if c.analysis is None}


def snapshot(files: Files, known: dict[str, Commit]) -> Snapshot:
    """Reads every commit of the store.

    known: {path: commit} of the commits read before (a commit never changes). New ones are added to it.
    """
    result = Snapshot({}, {}, [])
    paths = layout.own(files.listing(layout.COMMITS))
    unread = [p for p in paths if p not in known]
    for path, commit in zip(unread, files.map(lambda p: _read_or_why(files, p), unread), strict=True):
        if isinstance(commit, Commit):
            known[path] = commit
        elif commit is not None:
            result.unreadable[path] = commit
        elif files.size(path) is not None:
            result.broken.append(path)
    for path in paths:
        commit = known.get(path)
        if commit is not None and commit.id not in result.commits:  # paths are sorted: the smallest name wins
            result.commits[commit.id] = commit
            result.paths[commit.id] = path
    return result


def _read_or_why(files: Files, path: str) -> Commit | str | None:
    """A commit, why this version of memloc cannot read it, or None where the file is gone or damaged."""
    content = files.find(path)
    if content is None or not layout.is_intact(path, content):
        return None
    try:
        return Commit.decode(content)
    except ValueError as error:
        return str(error)
