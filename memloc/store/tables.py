"""From commits to tables: which files make a table up, in an order that depends on the content alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from memloc.config import canonical_json
from memloc.errors import StoreError
from memloc.store import c_scores, schemas
from memloc.store.commits import Commit, FileEntry, Snapshot, problem, read_entry
from memloc.store.files import Files

# A scan reads parts of files, so it cannot check their hashes; the pages carry checksums of their own (footers do not:
# `read` and `verify` check whole files).
_FORMAT = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True))


def commits_of(snapshot: Snapshot, partial: bool) -> list[Commit]:
    """The commits whose rows are shown: trainings, and complete analyses (with `partial`, every part there is)."""
    trainings = sorted(snapshot.trainings().values(), key=lambda c: c.trial)
    if partial:
        parts = [(c.trial, c.analysis, c.nth, c) for c in snapshot.commits.values() if c.analysis]
        return trainings + [commit for *_, commit in sorted(parts, key=lambda part: part[:3])]
    analyses = sorted(snapshot.analyses().items(), key=lambda item: (item[1][0].trial, item[0]))
    return trainings + [commit for _, parts in analyses for commit in parts]


def dataset(files: Files, commits: list[Commit], table: str) -> Any:
    """A pyarrow dataset (or in-memory table) of one table's rows, for queries that push filters down."""
    if table in DERIVED:
        return DERIVED[table](files, commits)
    # An explicit list: one stray or corrupt file in a folder must not break the rest. Without the committed sizes: of
    # an object that has become shorter, pyarrow would take the rest from whatever is in memory.
    filesystem = files.dataset_filesystem()
    fragments = [_FORMAT.make_fragment(files.full(e.path), filesystem) for e in entries_of(commits, table)]
    return ds.FileSystemDataset(fragments, schemas.TABLES[table], _FORMAT, filesystem)


def read(files: Files, commits: list[Commit], table: str) -> pa.Table:
    """One whole table, the hash of every file checked.

    Raises:
        StoreError: where a file is not what was committed.
    """
    if table in DERIVED:
        return DERIVED[table](files, commits)
    entries = entries_of(commits, table)
    pieces = files.map(lambda e: schemas.decode(table, read_entry(files, e)), entries)
    return pa.concat_tables([schemas.TABLES[table].empty_table(), *pieces])


def entries_of(commits: list[Commit], table: str) -> list[FileEntry]:
    return [f for c in commits for f in c.files if f.table == table]


def check(files: Files, commits: list[Commit]) -> None:
    """Raises StoreError where a data file is not what was committed: the reason, when a scan has failed."""
    entries = [f for c in commits for f in c.files]
    for entry, wrong in zip(entries, files.map(lambda e: problem(e, files.find(e.path)), entries), strict=True):
        if wrong:
            raise StoreError(f"store {files.uri}: {entry.path} {wrong}; run `memloc store verify`, then the sweep again")


def analyses_table(files: Files, commits: list[Commit]) -> pa.Table:
    """Table `analyses`: one row per analysis among the commits."""
    one = {c.analysis: c for c in commits if c.analysis}  # all parts of an analysis say the same of it
    rows = [
        {
            "analysis": analysis,
            "trial": c.trial,
            "stage": c.stage,
            "config": canonical_json(c.config),
            "reads": list(c.reads),
        }
        for analysis, c in one.items()
    ]
    return pa.Table.from_pylist(rows, schema=schemas.TABLES["analyses"])


# Tables without files of their own: each is made of the commits.
DERIVED = {"analyses": analyses_table, "c_scores": c_scores.table}
