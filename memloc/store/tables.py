"""From commits to tables: the files of a table, in an order that depends on the content alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from memloc.config.analysis_ids import versions_of
from memloc.errors import StorageError, StoreError, error_line
from memloc.store import c_scores, footers, schemas, table_content, trial_versions
from memloc.store.analyses import analyses_of
from memloc.store.commit_form import Commit, FileEntry
from memloc.store.entries import damaged
from memloc.store.files import Files
from memloc.store.generation_rows import MergedDataset, SliceReader, own_schema
from memloc.store.index import one_of_each_schema
from memloc.store.index_columns import PlacedEntry
from memloc.store.parquet import FAULTS
from memloc.store.schemas import Schemas
from memloc.store.shown import Shown
from memloc.store.table_files import table_files
from memloc.store.trial_versions import VersionedTrials, with_versions

# A scan reads parts of files, so it cannot check their hashes. The pages carry checksums of their own, and the commit has
# the hash of the footer (footers.py). `read` and `verify` check whole files.
_CHECKED = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
_FORMAT = ds.ParquetFileFormat(default_fragment_scan_options=_CHECKED)


def dataset(files: Files, commits: Sequence[Commit], table: str, known: Schemas, coded: Sequence[str] = ()) -> Any:
    """A pyarrow dataset (or in-memory table) of one table's rows, for queries that push filters down.

    known: the schemas of the tables that the reader knows. Any other table has the schema of its files. coded: columns of
    texts, or of lists of texts, that are read as codes of a dictionary: few texts that repeat are then read far faster.

    Raises:
        StoreError: where the footer of a file is not what was committed, or a file that is no data file has to be opened.
        StorageError: where a file cannot be read.
    """
    if table in DERIVED:
        return DERIVED[table](files, commits)
    # An explicit list, because one stray or corrupt file in a folder must not break the rest. The committed sizes are not
    # given: if an object had become shorter, pyarrow would fill the rest with arbitrary memory.
    filesystem = files.dataset_filesystem()
    rows = table_files(commits, table)
    listed = rows.listed
    for file, wrong in zip(listed, files.map(lambda e: footers.problem(files, e), listed), strict=True):
        if wrong:
            raise damaged(files, file.path, wrong)
    schema, form = _coded(_schema(files, commits, table, known), coded)
    if rows.are_whole:
        fragments = [form.make_fragment(files.full(e.path), filesystem) for e in listed]
        found = ds.FileSystemDataset(fragments, schema, form, filesystem)
    else:
        try:
            found = MergedDataset(rows, schema, files, form)
        except FAULTS as error:
            raise _why(files, commits, table, known, error) from error
    return VersionedTrials(found, trial_versions.versions_of(commits)) if _has_versions(table, schema) else found


def _has_versions(table: str, schema: pa.Schema) -> bool:
    return table == trial_versions.TABLE and trial_versions.COLUMN in schema.names


def _coded(schema: pa.Schema, names: Sequence[str]) -> tuple[pa.Schema, Any]:
    """(the schema with dictionaries in these columns, the format that reads them)."""
    if not names:
        return schema, _FORMAT
    leaves, codes = [], pa.dictionary(pa.int32(), pa.string())
    for name in names:
        of_lists = pa.types.is_list(schema.field(name).type)
        leaves.append(f"{name}.list.element" if of_lists else name)
        schema = schema.set(
            schema.get_field_index(name), pa.field(name, pa.list_(pa.field("element", codes)) if of_lists else codes)
        )
    return schema, ds.ParquetFileFormat(dictionary_columns=leaves, default_fragment_scan_options=_CHECKED)


def read(files: Files, commits: Sequence[Commit], table: str, known: Schemas) -> pa.Table:
    """One whole table, the hash of every file checked; known: as `dataset`.

    Of generation files the footer and the pages are checked, as in a scan.

    Raises:
        StoreError: where a file is not what was committed.
    """
    if table in DERIVED:
        return DERIVED[table](files, commits)
    rows = table_files(commits, table)
    if len(rows.place):
        return scanned(files, commits, table, known)
    schema, own = _schema(files, commits, table, known), known.get(table)
    pieces = files.map(lambda e: table_content.rows_in(files, e, schema, own), rows.own.values())
    whole = pa.concat_tables([schema.empty_table(), *pieces])
    return with_versions(whole, trial_versions.versions_of(commits)) if _has_versions(table, schema) else whole


def scanned(
    files: Files, commits: Sequence[Commit], table: str, known: Schemas, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a table, or some columns of them, checked as in a scan; errors as `dataset`. A fault is waited for."""

    def scan() -> pa.Table:
        rows: Any = dataset(files, commits, table, known)
        try:
            return rows.to_table(columns=columns, use_threads=False)
        except FAULTS as error:
            raise _why(files, commits, table, known, error) from error

    return files.patience(scan)


def _why(files: Files, commits: Sequence[Commit], table: str, known: Schemas, error: BaseException) -> BaseException:
    """The error for one that a scan has met. It is of Arrow itself only where every file is what was committed."""
    check(files, commits, table, known)
    if not isinstance(error, OSError):
        return error
    return StorageError(f"store {files.uri}: table {table} cannot be read: {error_line(error, with_type=False)}")


def names(commits: Sequence[Commit], known: Schemas) -> list[str]:
    """The tables that a reader can show: those it knows, then others that the commits have rows of."""
    return list(dict.fromkeys([*known, *sorted(Shown.of(commits).tables())]))


def _schema(files: Files, commits: Sequence[Commit], table: str, known: Schemas) -> pa.Schema:
    """The schema of a table: the reader's own or, for a table that it does not know, that of the files.

    Files whose commits name the same schema have the same columns, so one of each is read.
    """
    if table in known:
        return known[table]
    written = files.map(lambda e: _schema_of(files, e), one_of_each_schema(entries_of(commits, table)))
    try:
        return pa.unify_schemas(written)
    except pa.ArrowException as error:
        raise StoreError(f"store {files.uri}: the files of table {table} do not fit together: {error}") from None


def _schema_of(files: Files, entry: FileEntry) -> pa.Schema:
    if isinstance(entry, PlacedEntry):
        return own_schema(SliceReader(files, entry.within).schema)
    return table_content.rows_in(files, entry).schema


def entries_of(commits: Sequence[Commit], table: str) -> list[FileEntry]:
    """The files of a table, in the order of the commits."""
    return [f for c in commits for f in c.files if f.table == table]


def check(files: Files, commits: Sequence[Commit], table: str | None, known: Schemas) -> None:
    """Why a scan may have failed. table: its files alone. known: as `dataset`.

    Raises:
        DamagedError: a data file is not what was committed, or was committed and is no data file of its table.
    """
    listed = table_files(commits, table).listed
    for entry, wrong in zip(listed, files.map(lambda e: table_content.problem(files, e, known), listed), strict=True):
        if wrong:
            raise damaged(files, entry.path, wrong)


def analyses_table(files: Files, commits: Sequence[Commit]) -> pa.Table:
    """Table `analyses`: one row per analysis among the commits."""
    analyses = analyses_of(commits)
    columns = {name: [getattr(said, name) for said in analyses.values()] for name in ("trial", "stage", "config", "reads")}
    columns |= {"analysis": list(analyses), "version": list(versions_of(analyses))}
    return pa.table(columns, schema=schemas.OWN["analyses"])


# Tables without files of their own: each is made of the commits.
DERIVED = {"analyses": analyses_table, "c_scores": c_scores.table}
