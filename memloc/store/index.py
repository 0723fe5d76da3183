"""The commits that a generation covers, as columns: a reader of 100,000 commits reads one file.

A commit's own bytes stand in one column, so nothing that it says is lost. The other columns have what most readers ask of
many commits. No path stands here: the layout gives that of a commit and of a data file from what stands here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from memloc.store import layout
from memloc.store.columns import Ints, texts_of
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.index_columns import IndexColumns, PlacedEntry

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
TOGETHER = 250  # commits that are made of the columns at once
SAID = (
    "id", "trial", "analysis", "stage", "part", "nth", "of", "config", "reads", "where", "seconds", "passes", "ended",
    "schema",
)  # fmt: skip

Place = tuple[int, int]  # within, first


class Whole(Protocol):
    """Reads commits as their bytes say."""

    def __call__(self, row: int, path: str) -> Commit:
        """The commit in a row, which had this path."""

    def content(self, row: int, path: str) -> bytes:
        """Its bytes."""


def order(commit: Commit) -> tuple[Any, ...]:
    """A key that sorts commits as readers show their rows (completeness.py)."""
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
    """{part id: its commit} of an index. A commit is made of the columns when somebody asks for it.

    Raises:
        ValueError: on making: one phrase on the first thing that is no index of memloc's.
    """

    def __init__(self, columns: IndexColumns, whole: Whole) -> None:
        """whole: reads checkpoints, which the columns do not have."""
        self.columns, self._whole = columns, whole
        self.lost: frozenset[str] = frozenset()
        self._made: dict[int, Commit] = {}
        self._row = {f"{number:016x}": row for row, number in enumerate(columns["id"].tolist())}
        if len(self._row) < len(columns):
            raise ValueError("id: a part is there twice")

    def without(self, paths: Iterable[str]) -> IndexedCommits:
        """The same without the commits that have rows in these generation files: they are gone, or not as they were."""
        lost = frozenset(paths)
        if lost == self.lost:
            return self
        other: IndexedCommits = object.__new__(IndexedCommits)
        other.columns, other._whole, other._made, other.lost = self.columns, self._whole, self._made, lost
        gone = [n for n, file in enumerate(self.columns.files) if file.path in lost]
        hit = np.zeros(len(self.columns), dtype=bool)
        hit[self.columns.owner[np.isin(self.columns["within"], gone)]] = True
        names = texts_of(self.columns["id"])
        other._row = {names[row]: row for row in np.flatnonzero(~hit).tolist()}
        return other

    @cached_property
    def rows(self) -> Ints:
        """int64: where the commits stand in the columns."""
        return np.array(list(self._row.values()), dtype=np.int64)

    def __contains__(self, part_id: object) -> bool:
        return part_id in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, part_id: str) -> Commit:
        row = self._row[part_id]
        if row not in self._made:  # those beside it are of the same training, and will be asked for
            first = row - row % TOGETHER
            self.made(np.arange(first, min(first + TOGETHER, len(self.columns))))
        return self._made[row]

    def whole(self, part_id: str) -> Commit:
        """The commit as its own bytes say."""
        return self._whole(self._row[part_id], self.path(part_id))

    def content(self, part_id: str) -> bytes:
        """The bytes of a commit."""
        return self._whole.content(self._row[part_id], self.path(part_id))

    def path(self, part_id: str) -> str:
        """Where the commit lay, or lies."""
        return layout.commit_named(part_id, f"{int(self.columns['sha8'][self._row[part_id]]):08x}")

    def tables(self) -> dict[str, int]:
        """{table: rows}."""
        kept = np.zeros(len(self.columns), dtype=bool)
        kept[self.rows] = True
        kept = kept[self.columns.owner]
        numbers, rows = self.columns["table"][kept], self.columns["rows"][kept]
        known = self.columns.words.names.known
        return {known[number]: int(rows[numbers == number].sum()) for number in set(numbers.tolist())}

    def made(self, rows: Ints) -> list[Commit]:
        """The commits in these rows of the columns."""
        missing = np.array([row for row in rows.tolist() if row not in self._made], dtype=np.int64)
        fields = zip(*(self.columns.said(name, missing) for name in SAID), strict=True)
        files = self.columns.entries(missing)
        for row, own, said in zip(missing.tolist(), files, fields, strict=True):
            part_id, trial, analysis, stage, part, nth, of, config, reads, *rest = said
            checkpoints = Checkpoints(self, part_id) if analysis is None else ()
            self._made[row] = Commit(part_id, trial, analysis, stage, part, nth, of, config, reads, own, checkpoints, *rest)
        return [self._made[row] for row in rows.tolist()]


class Checkpoints(Sequence[Any]):
    """The checkpoints of a commit. They are read from its bytes whenever somebody asks for them: fifty of each training."""

    def __init__(self, index: IndexedCommits, part_id: str) -> None:
        self._index, self._id = index, part_id

    @property
    def _entries(self) -> Sequence[Any]:
        return self._index.whole(self._id).checkpoints

    def __getitem__(self, place: Any) -> Any:
        return self._entries[place]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]
