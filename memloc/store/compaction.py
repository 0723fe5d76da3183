"""Merges many small files and their commits into a generation (docs/architecture.md, Generations).

Data files of the generation are written first, then the index of its commits, then the manifest: from then on readers take
them. Nothing is removed here. If it is ended at any point before, readers see what they saw, and `gc` removes what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from memloc.errors import DamagedError, StoreError, error_line
from memloc.store import commits, documents, footers, generation_layout, generations, index, layout, manifest_form, schemas
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.entries import damaged
from memloc.store.files import Files
from memloc.store.generation_rows import SliceReader, own_schema, read_rows
from memloc.store.generation_writer import GenerationWriter, unified
from memloc.store.index import order
from memloc.store.index_columns import PlacedEntry
from memloc.store.manifest_form import LARGEST, LAST, GenerationFile, IndexFile, Manifest
from memloc.store.schemas import Schemas

PIECE = 100_000  # commits in a file of the index
AHEAD = 1000  # generations: a manifest that is further above the present one is somebody else's
LIMIT = LARGEST // 2  # bytes of a generation file, or a file of an index: while it is written, it is in memory

Key = tuple[str, int]  # a part, and the place of a file among those of its commit


@dataclass
class Compacted:
    """What a compaction did. path: the manifest. parts: that it covers. left: {part: why it keeps its own files}."""

    path: str
    generation: int
    parts: int
    files: int
    left: dict[str, str] = field(default_factory=dict)


def compact(
    files: Files, limit: int = LIMIT, without: Callable[[str], bool] | None = None, known: Schemas | None = None
) -> Compacted | None:
    """Writes a generation that covers every commit but those of parts that made networks; None if the present one does.

    limit: bytes of a file. without: the parts that shall not be in it, though the present generation has them (`rm`). known:
    the schemas of the tables that this version writes. A part whose rows do not fit to them keeps its own files.

    Raises:
        StoreError: a later version of memloc has written a manifest; a removal is not complete; another compaction was
            faster; a generation file is damaged.
    """
    snapshot = commits.snapshot(files, {})
    _check_free(files, snapshot, removing=without is not None)
    work = _Compaction(files, snapshot, limit, known or {})
    present = snapshot.generation
    gone = [i for i in present.commits if without(i)] if without and present else []
    covered = set(present.commits) if present else set()
    apart = {commit.id for commit in snapshot.loose() if commit.networks}  # few; a network lies in a file of its own anyway
    if without is None and covered == snapshot.commits.keys() - apart and not (present and present.commits.lost):
        return None
    if without is not None and not gone:
        return None
    wanted = [c for i, c in snapshot.commits.items() if i not in gone and i not in apart] if without is None else [
        snapshot.commits[i] for i in covered.difference(gone)
    ]  # fmt: skip
    return work.write(sorted(wanted, key=order))


def _check_free(files: Files, snapshot: commits.Snapshot, removing: bool) -> None:
    later = sorted(path for path in snapshot.later if path.startswith(f"{layout.MANIFESTS}/"))
    if later:
        raise StoreError(f"store {files.uri}: {later[0]} {snapshot.unreadable[later[0]]}")
    if not removing and layout.own(files.listing(layout.REMOVALS)):
        raise StoreError(f"store {files.uri}: a removal is not complete; `store ls` says which; end it first")


@dataclass
class _Compaction:
    files: Files
    snapshot: commits.Snapshot
    limit: int
    known: Schemas
    written: list[GenerationFile] = field(default_factory=list)
    places: dict[Key, tuple[GenerationFile, int]] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    @property
    def number(self) -> int:
        """The generation that is written: above every manifest that is there, also those that cannot be read.

        One that is far above the present one is none of memloc's, since each compaction adds 1. It could leave no number.
        """
        present = self.snapshot.generation.manifest.generation if self.snapshot.generation is not None else 0
        numbers = [generation_layout.generation_of(path) for path in generations.in_order(self.files)]
        return max([present, *(number for number in numbers if number <= present + AHEAD)]) + 1

    def write(self, wanted: Sequence[Commit]) -> Compacted:
        """Writes the generation of these commits, which are in the order of readers."""
        number = self.number
        if number > LAST:
            raise StoreError(f"store {self.files.uri}: generation {number - 1} is the last one that a store can have")
        self._leave_large(wanted)
        wanted = [commit for commit in wanted if commit.id not in self.left]
        for table in sorted({file.table for commit in wanted for file in commit.files}):
            self._write_table(table, number, wanted)
        kept = [commit for commit in wanted if commit.id not in self.left]
        used = {self.places[commit.id, k][0] for commit in kept for k in range(len(commit.files))}
        listed = [file for file in self.written if file in used]
        pieces = self._write_indexes(number, kept, listed)
        content = Manifest(number, tuple(pieces), tuple(listed)).encode()
        path = generation_layout.manifest(number, content)
        self._check_readable(path, content)
        self._check_unchanged(number, listed, kept)
        self.files.put(path, content)
        return Compacted(path, number, len(kept), len(listed), self.left)

    def _leave_large(self, wanted: Sequence[Commit]) -> None:
        """Leaves commits that would be too large for a file of the index; those of a generation were not."""
        sizes = self.files.listing(layout.COMMITS)
        for commit in wanted:
            size = 0 if commit.id in self.snapshot.covered else sizes.get(self.snapshot.paths[commit.id], 0)
            if size > LIMIT:
                self.left[commit.id] = f"its commit has {size} bytes; {LIMIT} at most are merged"

    def _check_readable(self, path: str, content: bytes) -> None:
        """Raises StoreError if no reader would take this manifest."""
        try:
            generations.opened(self.files, path, manifest_form.decode(path, content))
        except ValueError as error:
            raise StoreError(
                f"store {self.files.uri}: nothing was changed, since no reader would take {path}: it {error}"
            ) from None

    def _check_unchanged(self, number: int, listed: Sequence[GenerationFile], kept: Sequence[Commit]) -> None:
        """Raises StoreError if another compaction or a removal has been faster, or if a file is gone."""
        if self.number > number:
            raise StoreError(f"store {self.files.uri}: another compaction was faster; nothing was changed")
        there = self.files.listing(layout.GENERATIONS)
        for file in listed:
            if there.get(file.path) != file.size:
                raise StoreError(f"store {self.files.uri}: {file.path} is gone while it is needed; compact again")
        own = {self.snapshot.paths[commit.id] for commit in kept if commit.id not in self.snapshot.covered}
        if own and own - self.files.listing(layout.COMMITS).keys():  # what `rm` has removed must not come back
            raise StoreError(f"store {self.files.uri}: commits were removed meanwhile; compact again")

    def _write_table(self, table: str, number: int, wanted: Sequence[Commit]) -> None:
        entries = [((c.id, k), f) for c in wanted for k, f in enumerate(c.files) if f.table == table]
        schema = unified(list(self._schemas(entries)))
        kept = _kept_files(entries, schema, self)
        writer = GenerationWriter(self.files, table, number, schema, self.limit)
        pending: dict[Key, tuple[int, int]] = {}
        for key, entry, rows in self._rows(entries, kept):
            if isinstance(rows, pa.Table):
                try:
                    pending[key] = writer.add(key[0], rows)
                except pa.ArrowException as error:
                    self._leave(key[0], f"its columns in table {table} do not fit to the others: {error_line(error)}", entry)
            elif isinstance(rows, str):
                self._leave(key[0], rows, entry)
            else:
                writer.finish()  # what comes next lies after this file
                assert isinstance(entry, PlacedEntry)
                self.places[key] = entry.within, entry.first
        writer.finish()
        self.places |= {key: (writer.finished[n], first) for key, (n, first) in pending.items()}
        self.written += [*kept, *writer.finished]

    def _leave(self, part_id: str, why: str, entry: FileEntry) -> None:
        """A part keeps its own files. One that has none any more may not be left."""
        if isinstance(entry, PlacedEntry):
            raise StoreError(f"store {self.files.uri}: part {part_id} in {entry.within.path}: {why}")
        self.left.setdefault(part_id, why)

    def _schemas(self, entries: Sequence[tuple[Key, FileEntry]]) -> Iterator[pa.Schema]:
        """The columns of the table's files, each schema once, in the order of `index.one_of_each_schema`."""
        for one in index.one_of_each_schema([entry for _, entry in entries]):
            for (part_id, _), entry in entries:
                if entry.schema == one.schema and isinstance(entry, PlacedEntry) == isinstance(one, PlacedEntry):
                    try:
                        yield read_rows(self.files, entry, part_id, self.known.get(entry.table)).schema
                        break
                    except DamagedError:
                        continue  # it is found again when its rows are read

    def _rows(
        self, entries: Sequence[tuple[Key, FileEntry]], kept: Mapping[GenerationFile, None]
    ) -> Iterator[tuple[Key, FileEntry, pa.Table | str | None]]:
        """The rows of each part in order; None where they stay in their file; a phrase where they cannot be had."""
        reader: tuple[GenerationFile, SliceReader] | None = None
        for key, entry in entries:
            if isinstance(entry, PlacedEntry):
                if entry.within in kept:
                    yield key, entry, None
                    continue
                if reader is None or reader[0] != entry.within:
                    reader = entry.within, SliceReader(self.files, entry.within)
                yield key, entry, reader[1].rows(entry, key[0])
            else:
                yield key, entry, self._own_rows(key, entry)

    def _own_rows(self, key: Key, entry: FileEntry) -> pa.Table | str:
        if entry.size > self.limit:
            return f"{entry.path} is larger than a file of a generation"
        try:
            return read_rows(self.files, entry, key[0], self.known.get(entry.table))
        except DamagedError as error:
            return error.problem

    def _write_indexes(self, number: int, kept: Sequence[Commit], listed: Sequence[GenerationFile]) -> list[IndexFile]:
        pieces: list[IndexFile] = []
        done = 0
        while done < len(kept):
            pieces.append(self._write_index(number, kept[done : done + PIECE], listed))
            done += pieces[-1].commits
        return pieces

    def _write_index(self, number: int, own: Sequence[Commit], listed: Sequence[GenerationFile]) -> IndexFile:
        """A file of the index with as many of these commits as it has room for. Only its last row group may be short."""
        place = {file: n for n, file in enumerate(listed)}
        sink, count = pa.BufferOutputStream(), 0
        with pq.ParquetWriter(sink, index.SCHEMA, **schemas.WRITTEN) as writer:
            for start in range(0, len(own), index.GROUP):
                group = own[start : start + index.GROUP]
                contents = list(self.files.map(self._content, group))
                fitting = _fitting(contents, LIMIT - sink.tell())
                if start and fitting < len(group):
                    break  # the next file begins with it
                fitting = max(1, fitting)
                places = [[self.places[c.id, k] for k in range(len(c.files))] for c in group]
                numbers = [[(place[file], first) for file, first in of_commit] for of_commit in places]
                rows = list(zip(group, contents, numbers, strict=True))[:fitting]
                writer.write_table(index.rows_of(rows), row_group_size=index.GROUP)
                count += fitting
                if fitting < len(group):
                    break
        content = sink.getvalue().to_pybytes()
        digest = layout.sha256(content)
        path = generation_layout.index(number, digest)
        self.files.put(path, content)
        return IndexFile(path, count, len(content), digest, layout.sha256(footers.footer(content)))

    def _content(self, commit: Commit) -> bytes:
        """The bytes of a commit."""
        present = self.snapshot.generation
        if present is not None and commit.id in present.commits:
            return present.commits.content(commit.id)
        path = self.snapshot.paths[commit.id]
        odd: dict[str, str] = {}
        content = documents.find(self.files, path, odd)
        if content is None or not layout.is_intact(path, content):
            wrong = "is missing" if content is None else "was changed since it was committed"
            raise damaged(self.files, path, odd.get(path, wrong))
        return content


def _fitting(contents: Sequence[bytes], room: int) -> int:
    """How many of these commits, from the first on, have no more bytes than there is room for.

    In the index they are compressed, and their other columns take less than that saves.
    """
    return sum(end <= room for end in accumulate(map(len, contents)))


def _kept_files(
    entries: Sequence[tuple[Key, FileEntry]], schema: pa.Schema, work: _Compaction
) -> dict[GenerationFile, None]:
    """The generation files that stay as they are: large ones, all of whose parts follow one another here too."""
    runs: list[tuple[GenerationFile | None, int]] = []
    for _, entry in entries:
        within = entry.within if isinstance(entry, PlacedEntry) else None
        if runs and runs[-1][0] == within:
            runs[-1] = within, runs[-1][1] + entry.rows
        else:
            runs.append((within, entry.rows))
    times = [within for within, _ in runs]
    large = [
        file for file, rows in runs
        if file is not None and rows == file.rows and file.size >= work.limit // 4 and times.count(file) == 1
    ]  # fmt: skip
    return {file: None for file in large if own_schema(SliceReader(work.files, file).schema).equals(schema)}
