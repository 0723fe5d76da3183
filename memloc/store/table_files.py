"""Where the rows of a table lie: files of single parts, and runs of rows in generation files, in the order of readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memloc.store.columns import Ints, Numbers, number_of
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.entries import ListedTable
from memloc.store.index_columns import PlacedEntry
from memloc.store.manifest_form import GenerationFile
from memloc.store.shown import Shown

TYPES = {"part": np.uint64, "rows": np.int64, "first": np.int64, "within": np.int64}
ALONE = -1  # in the place of `first`: the file of a single part


@dataclass(frozen=True)
class TableFiles:
    """The files of some commits, perhaps of one table. Every place is one among all of them, in the order of readers.

    own: {place: a file of a single part}. place, rows, first: int64 [n] of the others, by place. part: uint64 [n], their
    parts as numbers. within: int64 [n], numbers in `generation`.
    """

    own: dict[int, FileEntry]
    place: Ints
    part: Numbers
    rows: Ints
    first: Ints
    within: Ints
    generation: tuple[GenerationFile, ...]

    @property
    def listed(self) -> list[ListedTable]:
        """The files in which the rows lie, each once, in their order."""
        used, begins = np.unique(self.within, return_index=True)
        merged = {int(self.place[n]): self.generation[k] for k, n in zip(used.tolist(), begins.tolist(), strict=True)}
        placed: dict[int, ListedTable] = {**self.own, **merged}
        return list(dict.fromkeys(placed[place] for place in sorted(placed)))

    @property
    def are_whole(self) -> bool:
        """Are these all rows of their files? Then the files, one after the other, are the table."""
        if not len(self.place):
            return True
        held = sum(self.generation[n].rows for n in np.unique(self.within).tolist())
        return not self.own and int(self.rows.sum()) == held


def table_files(commits: Sequence[Commit], table: str | None = None) -> TableFiles:
    """Where the rows of these commits lie. table: its rows alone."""
    shown = Shown.of(commits)
    generation = {file: n for n, file in enumerate(shown.covered.columns.files if shown.covered is not None else ())}
    singles = _of_objects(shown, table)
    numbers = [_numbers(part_id, file, generation) for _, part_id, file in singles]
    merged, rank = _of_columns(shown, table)
    rank = np.concatenate([rank, np.array([place for place, *_ in singles], dtype=np.int64)])
    order = np.argsort(rank, kind="stable")
    columns = {
        name: np.concatenate([merged[name], np.array([own[k] for own in numbers], dtype)])[order]
        for k, (name, dtype) in enumerate(TYPES.items())
    }
    alone = columns["first"] == ALONE
    own = {n: singles[order[n] - len(merged["first"])][-1] for n in np.flatnonzero(alone).tolist()}
    place = np.flatnonzero(~alone)
    return TableFiles(own, place, **{name: columns[name][place] for name in TYPES}, generation=tuple(generation))


def _numbers(part_id: str, file: FileEntry, generation: dict[GenerationFile, int]) -> tuple[int, int, int, int]:
    """The part, rows, first and within of a file. generation: gets its generation file."""
    if not isinstance(file, PlacedEntry):
        return number_of(part_id), file.rows, ALONE, 0
    return number_of(part_id), file.rows, file.first, generation.setdefault(file.within, len(generation))


def _of_objects(shown: Shown, table: str | None) -> list[tuple[int, str, FileEntry]]:
    """(place of the commit, its part, the file) of commits that are objects."""
    commits = ((rank, shown.others[~shown.places[rank]]) for rank in np.flatnonzero(shown.places < 0).tolist())
    return [(rank, c.id, file) for rank, c in commits for file in c.files if table in (None, file.table)]


def _of_columns(shown: Shown, table: str | None) -> tuple[dict[str, Any], Ints]:
    """({column: its values}, the place of the commit of each) of files of commits that are rows of an index."""
    if shown.covered is None:
        return {name: np.zeros(0, dtype) for name, dtype in TYPES.items()}, np.zeros(0, np.int64)
    columns = shown.covered.columns
    rank = shown.rank(len(columns))[columns.owner]
    kept = rank >= 0
    if table is not None:
        kept &= columns["table"] == columns.words.names.number(table)
    part = columns["id"][columns.owner[kept]]
    return {"part": part, **{name: columns[name][kept] for name in ("rows", "first", "within")}}, rank[kept]
