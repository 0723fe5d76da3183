"""Writes the rows of many parts of one table into generation files, each of at most a given size."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from memloc.store import footers, generation_layout, layout, schemas
from memloc.store.columns import number_of
from memloc.store.files import Files
from memloc.store.manifest_form import GenerationFile
from memloc.store.table_content import PART

ROWS = 1 << 17  # of a row group, at most
FOOTER = 300  # bytes of the footer for a column of a row group, about


@dataclass
class GenerationWriter:
    """The files of one table in one generation. They are written when they are full, and at the end.

    limit: bytes of a file. finished: the files that are written. A part's rows lie in one file, so a part that is larger
    than the limit has a larger file.
    """

    files: Files
    table: str
    generation: int
    schema: pa.Schema
    limit: int
    finished: list[GenerationFile] = field(default_factory=list)
    _held: list[pa.Table] = field(default_factory=list)
    _bytes: int = 0
    _rows: int = 0
    _held_rows: int = 0
    _groups: int = 0
    _sink: pa.BufferOutputStream | None = None
    _writer: pq.ParquetWriter | None = None

    def add(self, part_id: str, rows: pa.Table) -> tuple[int, int]:
        """(the number of the file among those of this writer, the first row there) of a part's rows."""
        rows = conformed(rows, self.schema)
        written = self._sink.tell() if self._sink is not None else 0
        room = self.limit - (self._groups + 2) * FOOTER * len(self.schema) - rows.nbytes
        if self._rows and written + self._bytes > room:
            # Rows take more bytes in memory than in the file. So they are written, and then the file may have room.
            self._flush()
            written = self._sink.tell() if self._sink is not None else 0
            if written > room - self.limit // 8:  # too little for a row group that is worth one
                self.finish()
        place = len(self.finished), self._rows
        numbers = pa.repeat(pa.scalar(number_of(part_id), PART.type), rows.num_rows)
        self._held.append(rows.append_column(PART, numbers))
        self._bytes += rows.nbytes
        self._rows += rows.num_rows
        self._held_rows += rows.num_rows
        if self._bytes > self.limit // 8 or self._held_rows >= ROWS:
            self._flush()
        return place

    def finish(self) -> None:
        """Writes what there is as a file."""
        if not self._held and self._writer is None:
            return
        self._flush()
        assert self._writer is not None
        assert self._sink is not None
        self._writer.close()
        content = self._sink.getvalue().to_pybytes()
        path = generation_layout.generation_data(self.table, self.generation, layout.sha256(content))
        self.files.put(path, content)
        hashes = layout.sha256(content), layout.sha256(footers.footer(content))
        self.finished.append(GenerationFile(self.table, self.generation, path, self._rows, len(content), *hashes))
        self._sink, self._writer, self._rows, self._groups = None, None, 0, 0

    def _flush(self) -> None:
        """Writes the rows that are held as a row group."""
        if self._writer is None:
            self._sink = pa.BufferOutputStream()
            schema = pa.schema([*self.schema, PART])
            self._writer = pq.ParquetWriter(self._sink, schema, **schemas.settings(schema))
        if self._held:
            rows = pa.concat_tables(self._held)
            self._writer.write_table(rows, row_group_size=max(1, rows.num_rows))
            self._groups += 1
        self._held, self._bytes, self._held_rows = [], 0, 0


def conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the columns of a schema; one that they do not have is NULL.

    Raises:
        ArrowInvalid: they have other columns, or of other types.
    """
    if PART.name in rows.column_names:
        raise pa.ArrowInvalid(f"column {PART.name} is of generation files alone")
    if rows.schema.equals(schema):
        return rows
    if set(rows.column_names) - set(schema.names):
        raise pa.ArrowInvalid(f"columns {sorted(set(rows.column_names) - set(schema.names))} are not the table's")
    columns = {
        field.name: rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    }
    return pa.table(columns, schema=schema)


def unified(written: Sequence[pa.Schema]) -> pa.Schema:
    """The schema of all of these that fit to those before them."""
    whole = pa.schema([])
    for schema in written:
        with suppress(pa.ArrowException):
            whole = pa.unify_schemas([whole, schema.remove_metadata()])
    return whole
