"""From commits to tables: which files make a table up, in an order that depends on the content alone."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from memloc.config import canonical_json
from memloc.store import schemas
from memloc.store.commits import Commit, Snapshot
from memloc.store.files import Files


def commits_of(snapshot: Snapshot, partial: bool) -> list[Commit]:
    """The commits whose rows are shown: trainings, and complete analyses (with `partial`, every part there is)."""
    trainings = sorted(snapshot.trainings().values(), key=lambda c: c.trial)
    if partial:
        order = {c.id: (c.trial, c.analysis, list(c.parts).index(c.id)) for c in snapshot.commits.values() if c.analysis}
        return trainings + sorted((c for c in snapshot.commits.values() if c.analysis), key=lambda c: order[c.id])
    complete = snapshot.analyses()
    analyses = sorted(complete.items(), key=lambda item: (item[1][0].trial, item[0]))
    return trainings + [commit for _, commits in analyses for commit in commits]


def dataset(files: Files, commits: list[Commit], table: str) -> Any:
    """A pyarrow dataset (or in-memory table) of one table's rows."""
    if table == "analyses":
        return analyses_table(commits)
    paths = [files.full(f.path) for c in commits for f in c.files if f.table == table]
    if not paths:
        return schemas.TABLES[table].empty_table()
    # An explicit list: one stray or corrupt file in a folder must not break the rest.
    return ds.dataset(paths, schema=schemas.TABLES[table], format="parquet", filesystem=files.dataset_filesystem())


def read(files: Files, commits: list[Commit], table: str) -> pa.Table:
    found = dataset(files, commits, table)
    return found if isinstance(found, pa.Table) else found.to_table()


def analyses_table(commits: list[Commit]) -> pa.Table:
    """Table `analyses`: one row per analysis among the commits."""
    rows = {
        c.analysis: {"analysis": c.analysis, "trial": c.trial, "stage": c.stage, "config": canonical_json(c.config)}
        for c in commits
        if c.analysis
    }
    return pa.Table.from_pylist(list(rows.values()), schema=schemas.TABLES["analyses"])
