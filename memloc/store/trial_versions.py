"""Column `version` of table `trials`: the version of training, which the commit of each training says.

Files that an earlier memloc wrote lack the column, and rows of theirs are those that it must tell apart. So it always comes
from the commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from memloc.store.commit_form import Commit
from memloc.store.row_stream import RowStream
from memloc.store.shown import Shown

TABLE, COLUMN = "trials", "version"
LARGEST = 1 << 31


def versions_of(commits: Sequence[Commit]) -> dict[str, int]:
    """{trial: the version of its training}, of the trainings among the commits that say it."""
    trainings = Shown.of(commits).trainings()
    said = zip(trainings.said("trial"), (part.get("version") for part in trainings.said("part")), strict=True)
    return {trial: version for trial, version in said if type(version) is int and 0 <= version < LARGEST}


def with_versions(rows: pa.Table, versions: Mapping[str, int]) -> pa.Table:
    """The rows of trials with their versions, in the place of the column if they have it, else as the last one."""
    found = pa.array([versions.get(trial) for trial in rows["trial"].to_pylist()], pa.int64())
    if COLUMN not in rows.column_names:
        return rows.append_column(COLUMN, found)
    return rows.set_column(rows.column_names.index(COLUMN), COLUMN, found)


class VersionedTrials(ds.FileSystemDataset):  # type: ignore[misc]
    """A dataset of table `trials` with the column. Everything else is pushed down to the dataset of the files.

    DuckDB and pyarrow ask a dataset for its `scanner`.
    """

    def __init__(self, rows: Any, versions: Mapping[str, int]) -> None:
        super().__init__([], rows.schema, rows.format, rows.filesystem)
        self._rows, self._versions = rows, versions

    def scanner(self, columns: Any = None, filter: Any = None, **options: Any) -> Any:
        """A scanner of these columns of the rows that pass the filter."""
        names = self.schema.names if columns is None else list(columns)
        condition = "" if filter is None else str(filter)
        if COLUMN not in names and COLUMN not in condition:
            return self._rows.scanner(columns=names, filter=filter, **options)
        # An expression says by its text alone what it names. A name in a value costs a column that nobody needs.
        also = [name for name in self.schema.names if name in condition] if COLUMN in condition else []
        read = [name for name in dict.fromkeys([*names, "trial", *also]) if name != COLUMN]
        schema = pa.schema([self.schema.field(name) for name in names])

        def batches() -> Iterator[Any]:
            inside = self._rows.scanner(columns=read, filter=None if also else filter, **options)
            for batch in inside.to_batches():
                rows = with_versions(pa.Table.from_batches([batch]), self._versions)
                rows = rows.filter(filter) if also else rows
                yield from rows.select(names).cast(schema).to_batches()

        return RowStream(schema, batches())

    def to_table(self, columns: Any = None, filter: Any = None, **options: Any) -> pa.Table:
        """The rows in memory."""
        return self.scanner(columns, filter, **options).to_table()
