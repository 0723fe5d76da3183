"""The rows of parts that lie in generation files, after each other and in the order in which readers show them.

A generation file has a column besides those of its table: the id of the part, as a number. So a scan that pushes filters
down knows which part a row is of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from memloc.store import parquet, table_content
from memloc.store.columns import Bools, number_of
from memloc.store.commit_form import FileEntry
from memloc.store.entries import damaged
from memloc.store.files import Files
from memloc.store.index_columns import PlacedEntry
from memloc.store.manifest_form import GenerationFile
from memloc.store.parquet import ChangedError
from memloc.store.row_stream import RowStream
from memloc.store.table_content import PART
from memloc.store.table_files import TableFiles

AHEAD = {
    "batch_size": 32_768,
    "batch_readahead": 2,
    "fragment_readahead": 2,
}  # small batches are read faster, in less memory


def own_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of the table, without the part's."""
    return pa.schema([field for field in schema if field.name != PART.name])


class SliceReader:
    """Reads rows of one generation file, best one slice after the other. It holds a row group."""

    def __init__(self, files: Files, file: GenerationFile) -> None:
        """Raises StoreError where the file is gone, its footer was changed, or it has not as many rows as it should."""
        self._files, self._file = files, file
        self._ends = self._read(
            lambda f: list(accumulate(f.metadata.row_group(k).num_rows for k in range(f.num_row_groups)))
        )
        _check_rows(files, file, self._ends)
        self._held: tuple[int, pa.Table] | None = None
        self.schema: pa.Schema = self._read(lambda f: f.schema_arrow)

    def rows(self, entry: PlacedEntry, part_id: str) -> pa.Table:
        """The rows of a part, with the columns of the table.

        Raises:
            StoreError: the file was changed, or has the rows of another part there.
        """
        pieces, first, end = [], entry.first, entry.first + entry.rows
        for group in groups(self._ends, first, end):
            begins = self._ends[group - 1] if group else 0
            pieces.append(self._group(group).slice(max(0, first - begins), min(end, self._ends[group]) - max(first, begins)))
        rows = pa.concat_tables(pieces) if pieces else self.schema.empty_table()
        if PART.name not in rows.column_names or (rows[PART.name].to_numpy() != number_of(part_id)).any():
            raise damaged(self._files, self._file.path, f"has other rows than those of part {part_id} in its place")
        return rows.drop_columns([PART.name])

    def _group(self, group: int) -> pa.Table:
        if self._held is None or self._held[0] != group:
            self._held = group, self._read(lambda f: f.read_row_group(group, use_threads=False))
        return self._held[1]

    def _read(self, action: Any) -> Any:
        try:
            return parquet.read(self._files, self._file, action)
        except ChangedError as error:
            raise damaged(self._files, self._file.path, str(error)) from None


def read_rows(files: Files, entry: FileEntry, part_id: str, known: pa.Schema | None = None) -> pa.Table:
    """The rows of one part, wherever they lie; StoreError where a file is not what was committed.

    known: the columns of the table as the reader knows it. Those of a file of its own must fit to them.
    """
    if isinstance(entry, PlacedEntry):
        return SliceReader(files, entry.within).rows(entry, part_id)
    return table_content.rows_in(files, entry, known=known)


def _check_rows(files: Files, file: GenerationFile, ends: Sequence[int]) -> None:
    if (rows := ends[-1] if ends else 0) != file.rows:
        raise damaged(files, file.path, f"has {rows} rows, was committed with {file.rows}")


def groups(ends: Sequence[int], first: int, end: int) -> list[int]:
    """The row groups that have some of the rows first … end − 1. ends: the number of rows up to the end of each."""
    if first >= end:
        return []
    return list(range(int(np.searchsorted(ends, first, "right")), int(np.searchsorted(ends, end, "left")) + 1))


class MergedDataset(ds.FileSystemDataset):  # type: ignore[misc]
    """A table whose parts lie in generation files and in files of their own, as a dataset that shows them in their order.

    Column selections and filters are pushed down to every file. DuckDB and pyarrow ask a dataset for its `scanner`.
    """

    def __init__(self, rows: TableFiles, schema: pa.Schema, files: Files, form: Any) -> None:
        """rows: of the visible parts. form: the dataset's file format."""
        filesystem = files.dataset_filesystem()
        super().__init__([], schema, form, filesystem)
        self._form, self._filesystem = form, filesystem
        self._rank = dict(zip(rows.part[::-1].tolist(), rows.place[::-1].tolist(), strict=True))
        self._loose = {files.full(entry.path): place for place, entry in rows.own.items()}
        self._loose_ranks = np.array(list(self._loose.values()), dtype=np.int64)
        used = dict.fromkeys(rows.within.tolist())
        self._generations = [self._fragment(files, rows.generation[n], rows, rows.within == n) for n in used]

    def _fragment(self, files: Files, file: GenerationFile, rows: TableFiles, own: Bools) -> Any:
        """The row groups of a generation file that have rows of these parts."""
        path = files.full(file.path)
        whole = self._form.make_fragment(path, self._filesystem)
        ends = list(accumulate(group.num_rows for group in whole.row_groups))
        _check_rows(files, file, ends)
        pairs = zip(rows.first[own].tolist(), rows.rows[own].tolist(), strict=True)
        wanted = sorted({group for first, n in pairs for group in groups(ends, first, first + n)})
        return self._form.make_fragment(path, self._filesystem, row_groups=wanted)

    def scanner(self, columns: Any = None, filter: Any = None, **_: Any) -> Any:
        """A scanner of these columns of the rows that pass the filter."""
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        return RowStream(schema, self._batches(names, filter))

    def to_table(self, columns: Any = None, filter: Any = None, **_: Any) -> pa.Table:
        """The rows in memory."""
        return self.scanner(columns, filter).to_table()

    def _batches(self, names: Sequence[str], condition: Any) -> Iterator[Any]:
        """Both streams are in order, so the one whose next part comes first goes on."""
        loose = self._scan_loose(names, condition)
        waiting = next(loose, None)
        for rank, batch in self._scan_generations(names, condition):
            while waiting is not None and waiting[0] < rank:
                yield waiting[1]
                waiting = next(loose, None)
            yield batch
        if waiting is not None:
            yield waiting[1]
        yield from (batch for _, batch in loose)

    def _scan_loose(self, names: Sequence[str], condition: Any) -> Iterator[tuple[int, Any]]:
        fragments = [self._form.make_fragment(path, self._filesystem) for path in self._loose]
        dataset = ds.FileSystemDataset(fragments, self.schema, self._form, self._filesystem)
        for tagged in dataset.scanner(columns=names, filter=condition).scan_batches():
            yield self._loose[tagged.fragment.path], tagged.record_batch

    def _scan_generations(self, names: Sequence[str], condition: Any) -> Iterator[tuple[int, Any]]:
        """(rank of its first part, rows) without the parts that are not visible, cut where parts of other files belong."""
        schema = pa.schema([*self.schema, PART])
        dataset = ds.FileSystemDataset(self._generations, schema, self._form, self._filesystem)
        for batch in dataset.scanner(columns=[*names, PART.name], filter=condition, **AHEAD).to_batches():
            parts = batch.column(batch.num_columns - 1).to_numpy()
            lengths, ranks = self._runs(parts)
            rows = batch.select(names)
            if (ranks < 0).any():
                rows = rows.filter(pa.array(np.repeat(ranks >= 0, lengths)))
                lengths, ranks = lengths[ranks >= 0], ranks[ranks >= 0]
            start = 0
            for _, runs in groupby(zip(ranks, lengths, strict=True), lambda run: np.searchsorted(self._loose_ranks, run[0])):
                own = list(runs)
                length = int(sum(n for _, n in own))
                yield int(own[0][0]), rows.slice(start, length)
                start += length

    def _runs(self, parts: Any) -> tuple[Any, Any]:
        """(int64 [runs] rows, int64 [runs] rank of the part, or -1 if it is not visible) of runs of rows of one part."""
        starts = np.flatnonzero(np.concatenate([[True], parts[1:] != parts[:-1]])) if len(parts) else np.zeros(0, np.int64)
        ranks = [self._rank.get(part, -1) for part in parts[starts].tolist()]
        return np.diff(starts, append=len(parts)), np.array(ranks, dtype=np.int64)
