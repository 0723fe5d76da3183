"""The generation that readers take: the intact manifest of the highest number, and of two such that of the smaller name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeVar

import pyarrow as pa

from memloc.store import commit_form, documents, generation_layout, index, index_check, layout, manifest_form, parquet
from memloc.store.columns import Words
from memloc.store.commit_form import Commit, LaterVersionError
from memloc.store.entries import damaged
from memloc.store.files import Files
from memloc.store.index import IndexedCommits
from memloc.store.index_columns import IndexColumns
from memloc.store.manifest_form import GenerationFile, IndexFile, Manifest
from memloc.store.parquet import ChangedError

T = TypeVar("T")

LOOKS = 5  # at most: so many removals while one reader looks


@dataclass(frozen=True)
class Generation:
    """What a compaction covered. path: its manifest. commits: those whose rows are all there."""

    path: str
    manifest: Manifest
    commits: IndexedCommits

    @property
    def files(self) -> tuple[GenerationFile, ...]:
        """Its data files, also those that are gone."""
        return self.manifest.files

    def lost_with(self, file: GenerationFile) -> set[str]:
        """The parts that have rows in a file."""
        return set(self.commits.without(())) - set(self.commits.without({file.path}))


@dataclass
class Manifests:
    """The manifests of a store, as a look at them found them.

    taken: the generation that readers take. broken: manifests whose content does not match their name. unreadable:
    {manifest: why} of those that this version cannot read. later: those among them that a later version wrote.
    """

    taken: Generation | None = None
    broken: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)


def look(files: Files, known: dict[str, Generation]) -> Manifests:
    """The manifests of a store, the highest first, as far as the one that readers take.

    known: {manifest: generation} of those read before (a manifest never changes). A new one is added to it.
    """
    paths = in_order(files)
    for _ in range(LOOKS):
        found = _look(files, paths, known)
        if not paths or (found.taken is not None and found.taken.path == paths[0] and not found.taken.commits.lost):
            break
        before, paths = paths, in_order(files)
        if paths == before:
            break  # else `rm` has replaced a generation while it was read
    return found


def _look(files: Files, paths: Sequence[str], known: dict[str, Generation]) -> Manifests:
    """The same of these manifests."""
    found = Manifests()
    for path in paths:
        if path not in known:
            try:
                generation = _read(files, path)
            except ValueError as error:
                found.unreadable[path] = str(error)
                if isinstance(error, LaterVersionError):
                    found.later.add(path)
                continue
            if generation is None:
                if files.size(path) is not None:
                    found.broken.append(path)
                continue
            known[path] = generation
        found.taken = _without_lost(files, known[path])
        break
    return found


def in_order(files: Files) -> list[str]:
    """The paths of all manifests, in the order in which readers take them."""
    return sorted_paths(filter(generation_layout.is_manifest, files.listing(layout.MANIFESTS)))


def sorted_paths(paths: Iterable[str]) -> list[str]:
    """Paths of manifests in that order."""
    return sorted(paths, key=lambda path: (-generation_layout.generation_of(path), path))


def read(files: Files, path: str) -> Generation | None:
    """The generation of a manifest, without the parts whose rows are gone; None if it cannot be read."""
    try:
        generation = _read(files, path)
    except ValueError:
        return None
    return None if generation is None else _without_lost(files, generation)


def read_manifest(files: Files, path: str) -> Manifest | None:
    """A manifest, or None if the file is gone or its content does not match its name; errors as `manifest_form.decode`."""
    content = files.find(path, documents.LARGEST)
    return manifest_form.decode(path, content) if content is not None and layout.is_intact(path, content) else None


def _read(files: Files, path: str) -> Generation | None:
    manifest = read_manifest(files, path)
    return None if manifest is None else opened(files, path, manifest)


def opened(files: Files, path: str, manifest: Manifest) -> Generation:
    """The generation of a manifest with its index; ValueError where the index is none that this version can read."""
    pieces, words = [_Piece(files, piece) for piece in manifest.index], Words()
    try:
        groups = [group for piece in pieces for group in piece.light(manifest.files, words)]
        groups = groups or [index_check.checked(index.READ.empty_table().select(index.COLUMNS), manifest.files, words)]
        commits = IndexedCommits(IndexColumns(groups, words, manifest.files), _Whole(files, pieces))
    except ValueError as error:
        raise ValueError(f"has no index that this version of memloc can read ({error})") from None
    return Generation(path, manifest, commits)


def _without_lost(files: Files, generation: Generation) -> Generation:
    """The generation without the parts whose rows are gone: `verify` has set their file aside, or somebody else."""
    there = files.listing(layout.GENERATIONS)
    lost = {file.path for file in generation.files if there.get(file.path) != file.size}
    return replace(generation, commits=generation.commits.without(lost))


@dataclass(frozen=True)
class _Piece:
    """A file of an index. It is read by columns, each page by its checksum, and the footer by its hash."""

    files: Files
    entry: IndexFile

    def light(self, files: Sequence[GenerationFile], words: Words) -> list[dict[str, Any]]:
        """What is said of many commits at once, by row groups; ValueError where it is no such file."""

        def groups(file: Any) -> list[dict[str, Any]]:
            if file.metadata.num_rows != self.entry.commits:
                raise ChangedError(f"has {file.metadata.num_rows} commits, and the manifest says {self.entry.commits}")
            sizes = [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)]
            if any(size != index.GROUP for size in sizes[:-1]) or not all(0 < size <= index.GROUP for size in sizes[-1:]):
                raise ChangedError(f"has row groups of other than {index.GROUP} commits")
            tables = (file.read_row_group(k, columns=index.COLUMNS, use_threads=False) for k in range(file.num_row_groups))
            return [index_check.checked(rows, files, words) for rows in tables]

        return self._read(groups)

    def contents(self, group: int) -> pa.Table:
        """The bytes of the commits of a row group."""
        return self._read(lambda file: file.read_row_group(group, columns=["commit"], use_threads=False))

    def _read(self, action: Callable[[Any], T]) -> T:
        def checked(file: Any) -> T:
            if not file.schema_arrow.equals(index.READ):
                raise ChangedError("has other columns")
            return action(file)

        try:
            return parquet.read(self.files, self.entry, checked, index.REPEATED)
        except ChangedError as error:
            raise ValueError(f"{self.entry.path} {error}") from None


class _Whole:
    """Reads commits as their bytes say, a row group of them at a time."""

    def __init__(self, files: Files, pieces: Sequence[_Piece]) -> None:
        self._files, self._pieces = files, pieces
        self._group = lru_cache(maxsize=2)(self._contents)
        self._decoded = lru_cache(maxsize=4)(self._decode)

    def __call__(self, row: int, path: str) -> Commit:
        """Raises StoreError where the bytes are not those of the commit that had this path."""
        return self._decoded(row, path)

    def _decode(self, row: int, path: str) -> Commit:
        content = self.content(row, path)
        try:
            return commit_form.decode(path, content)
        except ValueError as error:
            raise damaged(self._files, self._pieces[0].entry.path, f"has a commit that {error}") from None

    def content(self, row: int, path: str) -> bytes:
        """The bytes of the commit that had this path."""
        for piece in self._pieces:
            if row < piece.entry.commits:
                rows = self._group(piece, row // index.GROUP)
                content: bytes = rows["commit"][row % index.GROUP].as_py()
                if not layout.is_intact(path, content):
                    raise damaged(self._files, piece.entry.path, f"has another commit in the place of {path}")
                return content
            row -= piece.entry.commits
        raise AssertionError("unreachable")

    def _contents(self, piece: _Piece, group: int) -> pa.Table:
        try:
            return piece.contents(group)
        except ValueError as error:
            wrong = str(error).removeprefix(f"{piece.entry.path} ")
            raise damaged(self._files, piece.entry.path, wrong) from None
