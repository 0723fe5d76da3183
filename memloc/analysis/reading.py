"""Tables and SQL of the present store, read-only, without access to anything else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

import pyarrow as pa

from memloc.analysis.reader import Reader, visible
from memloc.store import Snapshot, Store

T = TypeVar("T")


def reading(store: Store, action: Callable[[Reader], T], sweep: str | None = None, partial: bool = False) -> T:
    """`action` on a reader of the store, or of one sweep in it. One snapshot answers all of its questions.

    If files are set aside meanwhile, it begins again with a newer snapshot.

    Raises:
        UsageError: there is no such sweep.
    """

    def on_snapshot(snapshot: Snapshot) -> T:
        with closing(Reader(store, visible(store, snapshot, sweep, partial))) as reader:
            return action(reader)

    return store.reading(on_snapshot)


def read_table(store: Store, name: str, sweep: str | None = None, partial: bool = False) -> pa.Table:
    """One whole table, or a view sorted by all its columns.

    Raises:
        UsageError: where there is no such table, view or sweep.
    """
    return reading(store, lambda reader: reader.table(name), sweep, partial)


def run_sql(store: Store, sql: str, sweep: str | None = None, partial: bool = False) -> pa.Table:
    """The rows of one SELECT over the store's tables; errors as those of `Reader.sql`."""
    return reading(store, lambda reader: reader.sql(sql), sweep, partial)
