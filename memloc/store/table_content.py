"""The rows of a data file, checked against what its table needs.

A hash says that a file is what somebody has committed, and not that it is a data file of this table. One that is none counts
as damaged: it is named, `verify` sets it aside, and the next sweep computes its part again.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memloc.errors import error_line
from memloc.store import schemas
from memloc.store.commit_form import FileEntry
from memloc.store.entries import Listed, damaged, look_at, read_entry
from memloc.store.files import Files
from memloc.store.manifest_form import GenerationFile
from memloc.store.parquet import FAULTS
from memloc.store.schemas import Schemas

PART = pa.field("_part", pa.uint64())  # in a generation file: the part's id as a number (columns.number_of)
IDS = ("analysis", "trial")  # no version of a table that has them was without them


def rows_in(files: Files, entry: FileEntry, schema: pa.Schema | None = None, known: pa.Schema | None = None) -> pa.Table:
    """The rows of a part's own file. schema: the columns that they get, by default their own. known: as `problem`.

    Raises:
        DamagedError: the file is not what was committed, or has no such rows.
    """
    content = read_entry(files, entry)
    try:
        rows = schemas.decode(content)
        wrong = _wrong_columns(entry, rows.schema, known) or _wrong_number(entry, rows.num_rows)
        if not wrong and schema is not None and not rows.schema.equals(schema):
            rows = schemas.decode(content, schema)
        _try_rows(rows, known)
    except FAULTS as error:
        wrong = _unreadable(error)
    if wrong:
        raise damaged(files, entry.path, wrong)
    return rows


def problem(files: Files, entry: Listed, known: Schemas) -> str | None:
    """What is wrong with a file, or None. It reads all of it; of a data file of a part or a generation also the rows.

    known: the schemas of the tables that the reader knows. A column that a file lacks is NULL, since an earlier version did
    not write it. One of another type is wrong.
    """
    content, wrong = look_at(files, entry)
    if content is None or not isinstance(entry, FileEntry | GenerationFile):
        return wrong
    return wrong_content(content, entry, known)


def wrong_content(content: bytes, entry: FileEntry | GenerationFile, known: Schemas) -> str | None:
    """The same of bytes whose hash is right."""
    try:
        return _wrong_content(content, entry, known.get(entry.table))
    except FAULTS as error:
        return _unreadable(error)


def _wrong_content(content: bytes, entry: FileEntry | GenerationFile, known: pa.Schema | None) -> str | None:
    """What is wrong with bytes whose hash is right; an error of FAULTS where they cannot be read."""
    file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    own: Any = file.schema_arrow
    if wrong := _wrong_columns(entry, own, known) or _wrong_number(entry, file.metadata.num_rows):
        return wrong
    for group in range(file.num_row_groups):  # a generation file is large
        _try_rows(file.read_row_group(group, use_threads=False), known)
    return None


def _try_rows(rows: pa.Table, known: pa.Schema | None) -> None:
    """Raises an error of FAULTS where a value is none, or does not fit to the column that the reader knows."""
    rows.validate(full=True)
    for field in known or ():
        if field.name in rows.column_names and rows[field.name].type != field.type:
            rows[field.name].cast(field.type)


def _wrong_columns(entry: FileEntry | GenerationFile, own: pa.Schema, known: pa.Schema | None) -> str | None:
    if len(set(own.names)) < len(own):
        return "has two columns of one name"
    needed = [known.field(name) for name in IDS if name in known.names] if known is not None else []
    needed += [PART] if isinstance(entry, GenerationFile) else []
    for field in needed:
        if field.name not in own.names or own.field(field.name).type != field.type:
            return f"has no column {field.name} of type {field.type}"
    if isinstance(entry, FileEntry) and known is not None and entry.schema == schemas.sha8(known) and not own.equals(known):
        return "has other columns than its commit says"
    return None


def _wrong_number(entry: FileEntry | GenerationFile, rows: int) -> str | None:
    return None if rows == entry.rows else f"has {rows} rows, was committed with {entry.rows}"


def _unreadable(error: BaseException) -> str:
    return f"was committed so, and its rows cannot be read ({error_line(error, with_type=False)})"
