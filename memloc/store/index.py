"""The commits that a generation covers, as columns: a reader of 100,000 commits reads one file.

A commit's own bytes stand in one column, so nothing that it says is lost. The other columns have what most readers ask of
many commits. No path stands here: the layout gives that of a commit and of a data file from what stands here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from memloc.store import index_check, layout
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.manifest_form import GenerationFile

TEXT, INT, FLOAT = pa.string(), pa.int64(), pa.float64()
FILE = pa.struct(
    [
        ("table", TEXT), ("rows", INT), ("size", INT), ("sha256", TEXT), ("schema", TEXT), ("footer", TEXT),
        ("within", pa.int32()),  # the place of its generation file in the manifest
        ("first", INT),  # the first of its rows there
    ]
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("id", TEXT), ("sha8", TEXT), ("trial", TEXT), ("analysis", TEXT), ("stage", TEXT), ("part", TEXT), ("nth", INT),
        ("of", INT), ("config", TEXT), ("reads", pa.list_(TEXT)), ("where", TEXT), ("seconds", FLOAT), ("passes", FLOAT),
        ("ended", FLOAT), ("schema", INT), ("files", pa.list_(FILE)),
        ("commit", pa.binary()),  # its bytes
    ]
)  # fmt: skip
REPEATED = ("part", "config", "where")
READ = pa.schema([pa.field(f.name, pa.dictionary(pa.int32(), TEXT)) if f.name in REPEATED else f for f in SCHEMA])
COLUMNS = [name for name in SCHEMA.names if name != "commit"]
GROUP = 2000  # commits whose bytes are read at once

Place = tuple[int, int]  # within, first


class Whole(Protocol):
    """Reads commits as their bytes say."""

    def __call__(self, row: int, path: str) -> Commit:
        """The commit in a row, which had this path."""

    def content(self, row: int, path: str) -> bytes:
        """Its bytes."""


@dataclass(frozen=True)
class PlacedEntry(FileEntry):
    """A data file whose rows lie in a generation file: `rows` of them, from number `first` on.

    The other fields are those of the file that it was; `path` is where it lay.
    """

    within: GenerationFile = None  # type: ignore[assignment]
    first: int = 0


def order(commit: Commit) -> tuple[Any, ...]:
    """A key that sorts commits as readers show their rows (tables.commits_of)."""
    return commit.analysis is not None, commit.trial, commit.analysis or "", commit.nth, commit.id


def one_of_each_schema(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """A data file of each schema, those in generation files first: their columns come first in the table."""
    one = {entry.schema: entry for entry in reversed(entries)}
    return sorted(one.values(), key=lambda entry: (not isinstance(entry, PlacedEntry), entry.schema))


def rows_of(commits: Sequence[tuple[Commit, bytes, Sequence[Place]]]) -> pa.Table:
    """Rows of the index: commits, their bytes, and the places of their files' rows."""
    rows = []
    for commit, content, places in commits:
        files = [
            {name: getattr(file, name) for name in FILE.names if name not in ("within", "first")}
            | {"within": within, "first": first}
            for file, (within, first) in zip(commit.files, places, strict=True)
        ]
        said = {name: getattr(commit, name) for name in COLUMNS if name not in ("sha8", "files")}
        said |= {name: json.dumps(said[name], sort_keys=True) for name in ("part", "config", "where")}
        rows.append({**said, "reads": list(commit.reads), "sha8": layout.sha8(content), "files": files, "commit": content})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


class IndexedCommits(Mapping[str, Commit]):
    """{part id: its commit} of an index. What many commits say is read at once; their checkpoints, one by one.

    Raises:
        ValueError: on making: one phrase on the first thing that is no index of memloc's.
    """

    def __init__(self, rows: pa.Table, files: Sequence[GenerationFile], whole: Whole) -> None:
        """rows: `COLUMNS`. files: those of the manifest."""
        self._rows, self._generation_files, self._whole = rows, files, whole
        self._values = index_check.checked(rows, files)
        self.lost: frozenset[str] = frozenset()
        self._row = dict(zip(rows["id"].to_pylist(), range(rows.num_rows), strict=True))

    def without(self, paths: Iterable[str]) -> IndexedCommits:
        """The same without the commits that have rows in these generation files: they are gone, or not as they were."""
        lost = frozenset(paths)
        if lost == self.lost:
            return self
        other: IndexedCommits = object.__new__(IndexedCommits)
        other._rows, other._generation_files, other._whole = self._rows, self._generation_files, self._whole
        other._values, other.lost = self._values, lost
        gone = {n for n, file in enumerate(self._generation_files) if file.path in lost}
        names = self._rows["id"].to_pylist()
        hit = {row for row, within in zip(*self._flat, strict=True) if within in gone}
        other._row = {name: row for row, name in enumerate(names) if row not in hit}
        return other

    @property
    def _flat(self) -> tuple[list[int], list[int]]:
        """(row, its place among the generation files) of every file of every commit."""
        files = self._rows["files"].combine_chunks()
        return pc.list_parent_indices(files).to_pylist(), files.flatten().field("within").to_pylist()

    def __contains__(self, part_id: object) -> bool:
        return part_id in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, part_id: str) -> Commit:
        return self._commits[self._row[part_id]]

    def whole(self, part_id: str) -> Commit:
        """The commit as its own bytes say."""
        return self._whole(self._row[part_id], self.path(part_id))

    def content(self, part_id: str) -> bytes:
        """The bytes of a commit."""
        return self._whole.content(self._row[part_id], self.path(part_id))

    def path(self, part_id: str) -> str:
        """Where the commit lay, or lies."""
        return layout.commit_named(part_id, self._rows["sha8"][self._row[part_id]].as_py())

    def tables(self) -> dict[str, int]:
        """{table: rows}."""
        files = self._rows["files"].combine_chunks()
        flat = files.flatten()
        kept, sums = set(self._row.values()), Counter[str]()
        columns = (flat.field(name).to_pylist() for name in ("table", "rows"))
        for row, table, rows in zip(pc.list_parent_indices(files).to_pylist(), *columns, strict=True):
            if row in kept:
                sums[table] += rows
        return dict(sums)

    @cached_property
    def _commits(self) -> list[Commit]:
        """All commits, by row."""
        columns = {name: self._rows[name].to_pylist() for name in COLUMNS}
        parsed = {name: [self._values[text] for text in columns[name]] for name in ("part", "config", "where")}
        files = self._entries(columns["id"])
        reads = [tuple(ids) for ids in columns["reads"]]
        scalars = (columns[name] for name in ("seconds", "passes", "ended", "schema"))
        return [
            Commit(i, trial, analysis, stage, part, nth, of, config, ids, own, Checkpoints(self, i), where, *rest)
            if analysis is None
            else Commit(i, trial, analysis, stage, part, nth, of, config, ids, own, (), where, *rest)
            for i, trial, analysis, stage, part, nth, of, config, ids, own, where, *rest in zip(
                *(columns[name] for name in ("id", "trial", "analysis", "stage")), parsed["part"], columns["nth"],
                columns["of"], parsed["config"], reads, files, parsed["where"], *scalars, strict=True,
            )
        ]  # fmt: skip

    def _entries(self, ids: Sequence[str]) -> list[tuple[PlacedEntry, ...]]:
        """The data files of every commit."""
        files = self._rows["files"].combine_chunks()
        flat = files.flatten()
        columns = [flat.field(name).to_pylist() for name in FILE.names]
        entries: list[list[PlacedEntry]] = [[] for _ in ids]
        for row, table, rows, size, sha256, schema, footer, within, first in zip(
            pc.list_parent_indices(files).to_pylist(), *columns, strict=True
        ):
            path = layout.data_named(table, ids[row], sha256)
            file = self._generation_files[within]
            entries[row].append(PlacedEntry(table, path, rows, size, sha256, schema, footer, file, first))
        return [tuple(own) for own in entries]


class Checkpoints(Sequence[Any]):
    """The checkpoints of a commit. They are read from its bytes when somebody asks for them."""

    def __init__(self, index: IndexedCommits, part_id: str) -> None:
        self._index, self._id = index, part_id

    @cached_property
    def _entries(self) -> Sequence[Any]:
        return self._index.whole(self._id).checkpoints

    def __getitem__(self, place: Any) -> Any:
        return self._entries[place]

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]
