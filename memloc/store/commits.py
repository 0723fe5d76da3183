"""The commit rule: a part exists when its commit does, and readers see only what a commit lists.

Data files go first, the commit last. Two commits of one part (a retried or duplicated worker) agree in every column
but `seconds`; readers take the smallest name. So correctness needs neither conditional writes, nor an atomic rename,
nor clocks.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memloc.counts import counted
from memloc.errors import StoreError, UsageError
from memloc.store import commit_form, completeness, documents, footers, layout, schemas
from memloc.store.commit_form import Commit, FileEntry, LaterVersionError
from memloc.store.files import Files
from memloc.store.generations import Generation, look
from memloc.store.schemas import Schemas
from memloc.store.shown import Shown

SHOWN = 5  # ids in an error
T = TypeVar("T")


def publish_tables(
    files: Files, part_id: str, tables: Mapping[str, Mapping[str, Any]], known: Schemas
) -> tuple[FileEntry, ...]:
    """Writes the data files of a part (not yet visible to anybody); known: the schemas of its tables."""
    entries = []
    for table, columns in tables.items():
        content, rows = schemas.encode(table, columns, known[table])
        path = layout.data(table, part_id, content)
        files.put(path, content)
        hashes = layout.sha256(content), schemas.sha8(known[table]), layout.sha256(footers.footer(content))
        entries.append(FileEntry(table, path, rows, len(content), *hashes))
    return tuple(entries)


def publish(files: Files, commit: Commit) -> str:
    """Writes the commit: from now on the part exists. Returns its path."""
    content = commit.encode()
    path = layout.commit(commit.id, content)
    files.put(path, content)
    return path


def publish_once(files: Files, commit: Commit, generations: dict[str, Generation]) -> Commit:
    """Writes the commit unless the part has one. Returns the one that counts.

    It is looked for again before every try to write: a storage that fails may be waited for so long that another driver has
    committed the part meanwhile.
    """

    def look_and_write() -> Commit:
        if (there := find(files, commit.id, generations)) is not None:
            return there
        publish(files, commit)
        return find(files, commit.id, generations) or commit  # another one may have been written in the same moment

    return files.patience(look_and_write)


def find(files: Files, part_id: str, generations: dict[str, Generation], placed: bool = False) -> Commit | None:
    """The commit of a part, or None. Of two commits of one part it may be either: both say the same.

    generations: as `known` of `generations.look`. placed: its files say where their rows lie now, not where they lay
    when the part was computed.

    Raises:
        StoreError: there is none that this version can read, and one that a later version of memloc wrote.
    """
    paths = sorted(p for p in files.listing(layout.commit_folder(part_id)) if layout.is_commit_of(p, part_id))
    later: tuple[str, object] | None = None
    for path in paths:
        try:
            commit = _read(files, path)
        except LaterVersionError as error:
            later = path, error
        except ValueError:
            continue
        else:
            if commit is not None:
                return commit
    manifests = look(files, generations)
    if manifests.taken is not None and part_id in manifests.taken.commits:
        covered = manifests.taken.commits
        return covered[part_id] if placed else covered.whole(part_id)
    later = later or next(((path, manifests.unreadable[path]) for path in sorted(manifests.later)), None)
    if later is not None:
        raise StoreError(f"store {files.uri}: {later[0]} {later[1]}")
    return None


def _read(files: Files, path: str) -> Commit | None:
    """A commit, or None if the file is gone (it may have been set aside since it was listed) or damaged.

    Raises:
        ValueError: as `commit_form.decode`.
    """
    content = files.find(path, documents.LARGEST)
    return commit_form.decode(path, content) if content is not None and layout.is_intact(path, content) else None


@dataclass
class Snapshot:
    """The content of a store at one moment.

    commits: {part id: the commit that readers take}. paths: {part id: the path of this commit, or of the manifest that
    covers it}. broken: commits and manifests whose content does not match their name; readers pass over them. unreadable:
    {commit or manifest: why} of those that this version of memloc cannot read. later: those among them that a later version
    wrote. generation: the generation that readers take, if there is one.
    """

    commits: Mapping[str, Commit]
    paths: Mapping[str, str]
    broken: list[str]
    unreadable: dict[str, str] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    generation: Generation | None = None

    def complete(self, analysis_parts: Iterable[str]) -> bool:
        """Are all these parts committed?"""
        return all(map(self.commits.__contains__, analysis_parts))

    def shown(self, partial: bool = False) -> Shown:
        """The commits whose rows are shown, in the order of readers; partial: also those of incomplete analyses."""
        return completeness.shown(self.every, partial)

    @property
    def every(self) -> Shown:
        """All commits, in the order of `commits`."""
        return Shown.every(self.generation.commits if self.generation is not None else None, self.loose())

    def tables(self) -> dict[str, tuple[int, int]]:
        """{table: (rows, bytes of its files)} of what is committed, sorted by name."""
        sizes: dict[str, tuple[int, int]] = {}
        if self.generation is not None:
            rows_of = self.generation.commits.tables()
            for table in rows_of:
                size = sum(file.size for file in self.generation.files if file.table == table)
                sizes[table] = rows_of[table], size
        for file in (file for commit in self.loose() for file in commit.files):
            rows, size = sizes.get(file.table, (0, 0))
            sizes[file.table] = rows + file.rows, size + file.size
        return dict(sorted(sizes.items()))

    def loose(self) -> list[Commit]:
        """The commits that no generation covers."""
        if self.generation is None:
            return list(self.commits.values())
        return [self.commits[part_id] for part_id in self._loose_ids]

    @property
    def _loose_ids(self) -> list[str]:
        own = self.paths.maps[0] if isinstance(self.paths, ChainMap) else self.paths
        return [part_id for part_id in own if part_id not in self.covered]

    @property
    def covered(self) -> Mapping[str, Commit]:
        """Those of the commits that the generation covers."""
        return self.generation.commits if self.generation is not None else {}

    def trainings(self) -> dict[str, Commit]:
        """{trial: the commit of its training}."""
        return {commit.trial: commit for commit in self.every.trainings()}

    def training(self, prefix: str) -> Commit:
        """The commit of the one training whose id begins so, in small letters or capitals; UsageError where none or several
        do.
        """
        trainings = self.trainings()
        matches = [i for i in trainings if i.startswith(prefix.lower())]
        if len(matches) == 1:
            return trainings[matches[0]]
        of = f"of {counted(len(trainings), 'finished training')} in the store"
        if matches:
            raise UsageError(f"trial {prefix!r}: {len(matches)} {of} begin so: {_some(matches)}; type more digits of one")
        have = f"; there {'is' if len(trainings) == 1 else 'are'} {_some(trainings)}" if trainings else ""
        raise UsageError(f"trial {prefix!r}: none {of} begins so{have}")


def _some(ids: Iterable[str]) -> str:
    first, more = sorted(ids)[:SHOWN], len(list(ids)) - SHOWN
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


class _Both(ChainMap[str, T]):
    """What is said of commits with files of their own, and of those of a generation."""

    def __init__(self, loose: dict[str, T], covered: Mapping[str, T]) -> None:
        super().__init__(loose, covered)  # type: ignore[arg-type]
        self._loose, self._covered = loose, covered

    def __contains__(self, part_id: object) -> bool:
        return part_id in self._covered or part_id in self._loose  # status asks for every part of a sweep


class _Manifest(Mapping[str, str]):
    """{part id: the path of the manifest that covers it}"""

    def __init__(self, covered: Mapping[str, Commit], path: str) -> None:
        self._covered, self._path = covered, path

    def __getitem__(self, part_id: str) -> str:
        if part_id not in self._covered:
            raise KeyError(part_id)
        return self._path

    def __iter__(self) -> Iterator[str]:
        return iter(self._covered)

    def __len__(self) -> int:
        return len(self._covered)


def snapshot(files: Files, known: dict[str, Commit], generations: dict[str, Generation] | None = None) -> Snapshot:
    """Reads the generation that readers take, and every commit that it does not cover.

    known: {path: commit} of the commits read before (a commit never changes). New ones are added to it. generations: as
    `known` of `generations.look`.
    """
    manifests = look(files, {} if generations is None else generations)
    result = Snapshot({}, {}, manifests.broken, manifests.unreadable, manifests.later, manifests.taken)
    covered = manifests.taken.commits if manifests.taken is not None else {}
    paths = sorted(p for p in files.listing(layout.COMMITS) if layout.part_of(p) not in covered and layout.is_own(p))
    unread = [p for p in paths if p not in known]
    for path, commit in zip(unread, files.map(lambda p: _read_or_why(files, p), unread), strict=True):
        if isinstance(commit, Commit):
            known[path] = commit
        elif commit is not None:
            result.unreadable[path] = str(commit)
            if isinstance(commit, LaterVersionError):
                result.later.add(path)
        elif files.size(path) is not None:
            result.broken.append(path)
    loose: dict[str, Commit] = {}
    loose_paths: dict[str, str] = {}
    for path in paths:
        commit = known.get(path)
        if commit is not None and commit.id not in loose:  # paths are sorted: the smallest name wins
            loose[commit.id] = commit
            loose_paths[commit.id] = path
    result.commits, result.paths = loose, loose_paths
    if manifests.taken is not None:
        result.commits = _Both(loose, covered)
        result.paths = _Both(loose_paths, _Manifest(covered, manifests.taken.path))
    return result


def _read_or_why(files: Files, path: str) -> Commit | ValueError | None:
    """A commit, why this version of memloc cannot read it, or None where the file is gone or damaged."""
    try:
        return _read(files, path)
    except ValueError as error:
        return error
