"""What tests of compaction share: everything that readers see of a store, and stores of small parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from memloc.analysis.reader import Reader, known_tables, visible
from memloc.store import Commit, Snapshot, Store
from tests.store.writing import PARTS, commit_of, rows_of, with_training

SMALL = 6000  # bytes of a generation file, so that a table has several


def shown(store: Store, partial: bool = False, sweep: str | None = None, *names: str) -> dict[str, pa.Table]:
    """Every table, or these, read whole and by SQL without an order of its own."""
    with closing(Reader(store, visible(store, store.snapshot(), sweep, partial))) as reader:
        whole = {name: reader.table(name) for name in names or reader.tables}
        asked = {f"SELECT {name}": reader.sql(f"SELECT * FROM {name}") for name in whole}
        for name, rows in whole.items():
            assert asked[f"SELECT {name}"].equals(rows), name
    return whole


def assert_same(one: dict[str, pa.Table], other: dict[str, pa.Table]) -> None:
    """The same rows in the same order, bit for bit."""
    assert one.keys() == other.keys()
    for name, rows in one.items():
        assert rows.schema.equals(other[name].schema), name
        for column in rows.column_names:
            a, b = rows[column].combine_chunks(), other[name][column].combine_chunks()
            assert a.equals(b), (name, column)  # NULL is only equal to NULL
            if pa.types.is_floating(a.type):
                assert bits(a) == bits(b), (name, column)


def bits(column: pa.Array) -> bytes:
    """The bits of numbers, of which some may be NaN or −0."""
    filled: bytes = column.fill_null(0).to_numpy(zero_copy_only=False).tobytes()
    return filled


def said(snapshot: Snapshot) -> dict[str, dict[str, Any]]:
    """Everything that commits say, whether a generation covers them or not."""
    return {i: as_said(commit) for i, commit in snapshot.commits.items()}


def as_said(commit: Commit) -> dict[str, Any]:
    values = {f.name: getattr(commit, f.name) for f in fields(Commit)}
    names = ("table", "path", "rows", "size", "sha256", "schema", "footer")
    files = [tuple(getattr(file, name) for name in names) for file in commit.files]
    return {**values, "files": files, "checkpoints": tuple(commit.checkpoints)}


def publish(store: Store, parts: Sequence[tuple[int, int]]) -> None:
    """Publishes (analysis, number of its part), and their training."""
    with_training(store)
    for analysis, nth in parts:
        store.publish(commit_of(analysis, nth, 1.0), rows_of(analysis, nth), known_tables())


def all_parts(analyses: int) -> list[tuple[int, int]]:
    """Every part of so many analyses, in the order of a random run."""
    parts = [(analysis, nth) for analysis in range(analyses) for nth in range(PARTS)]
    random.Random(0).shuffle(parts)
    return parts


def remove_small(store: Store) -> None:
    """What `gc` removes later: all commits and data files of parts that the generation covers."""
    covered = store.snapshot().covered
    for folder in ("commits", "data"):
        for path in store.files.listing(folder):
            if Path(path).name.partition("-")[0] in covered:
                store.files.delete(path)
