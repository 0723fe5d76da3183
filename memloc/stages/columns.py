"""The types of columns, and the schemas that stages make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

TEXT, INT, SMALL, FLOAT, BOOL = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
SINGLE = pa.float32()
TEXTS, SMALLS = pa.list_(TEXT), pa.list_(SMALL)
ACCURACY_NAMES = ("clean_acc", "noisy_acc", "test_acc")
ACCURACIES = tuple((name, FLOAT) for name in ACCURACY_NAMES)


def of_analysis(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    """The schema of a stage's table: `analysis` and `trial`, which run/ adds to every row, then the stage's own columns."""
    return pa.schema([("analysis", TEXT), ("trial", TEXT), *columns])


def columns_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """{column: its value in each row} for these columns. It is None where a row does not have the column."""
    return {name: [row.get(name) for row in rows] for name in names}
