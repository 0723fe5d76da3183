"""Rows of a dataset of our own, as DuckDB and pyarrow ask a dataset's scanner for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class RowStream:
    """Rows, batch by batch, in their order. They are read once, by the thread that asks for a batch.

    `Scanner.from_batches` reads in a thread of Arrow's pools, and the files' own scanner, inside it, waits for other threads
    of the same pools. With one thread (OMP_NUM_THREADS=1) a query that needs only the first rows waits for ever.
    """

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def to_batches(self) -> Iterator[pa.RecordBatch]:
        """The batches."""
        return self.batches

    def to_reader(self) -> pa.RecordBatchReader:
        """The same as a stream of Arrow."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches)

    def to_table(self) -> pa.Table:
        """The rows in memory."""
        return pa.Table.from_batches(self.batches, self.schema)
