"""Some columns of a table, batch by batch: what an estimate over many rows reads, so that memory does not hold the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from memloc.analysis.reader import known_tables
from memloc.errors import StoreError
from memloc.store import Commit, Store, tables

ROWS = 32_768  # of a batch
AHEAD = {"batch_size": ROWS, "batch_readahead": 2, "fragment_readahead": 2}


def batches(
    store: Store, commits: Sequence[Commit], table: str, columns: Sequence[str], coded: Sequence[str] = ()
) -> Iterator[Any]:
    """Record batches of some columns of a table's rows, in the order of the commits.

    coded: columns that come as dictionaries (`tables.dataset`).

    Raises:
        StoreError: a file is not what was committed, or cannot be reached.
    """
    rows = tables.dataset(store.files, list(commits), table, known_tables(), coded)
    try:
        yield from rows.scanner(columns=list(columns), **AHEAD).to_batches()
    except (OSError, pa.ArrowException) as error:
        tables.check(store.files, list(commits), table, known_tables())
        raise StoreError(f"store {store.uri}: table {table} cannot be read: {error}") from None
