"""The types of columns, and the schemas that stages make of them."""

from __future__ import annotations

import pyarrow as pa

TEXT, INT, SMALL, FLOAT, BOOL = pa.string(), pa.int64(), pa.int32(), pa.float64(), pa.bool_()
SINGLE = pa.float32()
TEXTS, SMALLS = pa.list_(TEXT), pa.list_(SMALL)
ACCURACIES = (("clean_acc", FLOAT), ("noisy_acc", FLOAT), ("test_acc", FLOAT))


def of_analysis(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    """The schema of a stage's table: `analysis` and `trial`, which run/ adds to every row, then the stage's own columns."""
    return pa.schema([("analysis", TEXT), ("trial", TEXT), *columns])
