"""The tables and their columns: names, order and types. Raise VERSION with any change of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

VERSION = 2

_TEXT, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_SMALL = pa.int32()
_ACCURACIES = [("clean_acc", _FLOAT), ("noisy_acc", _FLOAT), ("test_acc", _FLOAT)]

TABLES: dict[str, pa.Schema] = {
    "trials": pa.schema(
        [
            ("trial", _TEXT),
            ("dataset", _TEXT),
            ("model", _TEXT),
            ("width", _FLOAT),
            ("noise", _FLOAT),
            ("seed", _INT),
            ("data_seed", _INT),
            ("dropout", _TEXT),
            ("p_gen", _FLOAT),
            ("p_mem", _FLOAT),
            ("keep", _FLOAT),
            ("epochs", _SMALL),
            ("n_train", _INT),
            ("config", _TEXT),
        ]
    ),
    "analyses": pa.schema(
        [("analysis", _TEXT), ("trial", _TEXT), ("stage", _TEXT), ("config", _TEXT), ("reads", pa.list_(_TEXT))]
    ),
    "epochs": pa.schema(
        [("trial", _TEXT), ("epoch", _SMALL), ("lr", _FLOAT), ("loss", _FLOAT), *_ACCURACIES, ("seconds", _FLOAT)]
    ),
    "examples": pa.schema(
        [
            ("trial", _TEXT),
            ("example", _INT),
            ("label", _SMALL),
            ("true_label", _SMALL),
            ("noisy", _BOOL),
            ("learning_time", _SMALL),
            ("forgetting", _SMALL),
            ("aum", _FLOAT),
            ("el2n", _FLOAT),
            ("mean_loss", _FLOAT),
            ("final_loss", _FLOAT),
            ("mean_prob", _FLOAT),
        ]
    ),
    "evaluation": pa.schema([("analysis", _TEXT), ("trial", _TEXT), ("mode", _TEXT), ("rescale", _TEXT), *_ACCURACIES]),
    "predictions": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("mode", _TEXT),
            ("rescale", _TEXT),
            ("example", _INT),
            ("predicted", _SMALL),
            ("correct", _BOOL),
            ("margin", pa.float32()),
        ]
    ),
    "gradients": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("epoch", _SMALL),
            ("layer", _TEXT),
            ("param", _TEXT),
            ("numel", _INT),
            *[(name, _FLOAT) for name in ("sq_clean", "sq_noisy", "dot", "sq_control", "dot_control")],
        ]
    ),
    "rewind": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("layer", _TEXT),
            ("epoch", _SMALL),
            *_ACCURACIES,
            ("clean_loss", _FLOAT),
            ("noisy_loss", _FLOAT),
        ]
    ),
    "retrain": pa.schema([("analysis", _TEXT), ("trial", _TEXT), ("layer", _TEXT), ("epoch", _SMALL), *_ACCURACIES]),
    "flips": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("example", _INT),
            ("repeat", _SMALL),
            ("noisy", _BOOL),
            ("eligible", _BOOL),
            ("count", _SMALL),
            ("censored", _BOOL),
            ("layers", pa.list_(_TEXT)),
            ("indices", pa.list_(_SMALL)),
            ("new_class", _SMALL),
            *_ACCURACIES,
            ("clean_se", _FLOAT),
            ("noisy_se", _FLOAT),
        ]
    ),
    "held_out": pa.schema(
        [("analysis", _TEXT), ("trial", _TEXT), ("example", _INT), ("held_in", _BOOL), ("correct", _BOOL)]
    ),
    "c_scores": pa.schema(
        [
            ("scores", _TEXT),
            ("dataset", _TEXT),
            ("model", _TEXT),
            ("noise", _FLOAT),
            ("seed", _INT),
            ("data_seed", _INT),
            ("config", _TEXT),
            ("example", _INT),
            ("c_score", _FLOAT),
            ("memorization", _FLOAT),
            ("n_in", _INT),
            ("n_out", _INT),
        ]
    ),
    "second_split": pa.schema([("analysis", _TEXT), ("trial", _TEXT), ("example", _INT), ("time", _SMALL)]),
    "detection": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("score", _TEXT),
            ("sample", _TEXT),
            ("auc", _FLOAT),
            ("auc_lo", _FLOAT),
            ("auc_hi", _FLOAT),
            ("ap", _FLOAT),
            ("precision", _FLOAT),
            ("n", _INT),
        ]
    ),
    "detection_pairs": pa.schema(
        [
            ("analysis", _TEXT),
            ("trial", _TEXT),
            ("score", _TEXT),
            ("other", _TEXT),
            ("sample", _TEXT),
            ("auc_diff", _FLOAT),
            ("lo", _FLOAT),
            ("hi", _FLOAT),
            ("p", _FLOAT),
        ]
    ),
}

# Wall-clock readings: the only columns in which two runs of one part may differ.
CLOCK_COLUMNS = ("seconds",)

_BYTES = {_TEXT: 18, _INT: 8, _SMALL: 4, _FLOAT: 8, _BOOL: 1, pa.float32(): 4}


def row_bytes(table: str) -> int:
    """Bytes of a row before compression, for estimates."""
    return sum(_BYTES.get(field.type, 8) for field in TABLES[table])


def encode(table: str, columns: Mapping[str, Any]) -> tuple[bytes, int]:
    """(Parquet bytes, rows) of columns that must be exactly the schema's."""
    schema = TABLES[table]
    if set(columns) != set(schema.names):
        raise ValueError(f"table {table} has columns {sorted(schema.names)}, got {sorted(columns)}")
    rows = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)
    sink = pa.BufferOutputStream()
    # Pinned settings: the same rows are the same bytes.
    pq.write_table(rows, sink, compression="zstd", version="2.6", row_group_size=1 << 20, write_page_checksum=True)
    return sink.getvalue().to_pybytes(), rows.num_rows


def decode(table: str, content: bytes) -> pa.Table:
    """The rows of a data file; a column that its schema did not have yet is NULL."""
    rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    if rows.schema.equals(TABLES[table]):
        return rows
    return pq.read_table(pa.BufferReader(content), schema=TABLES[table])
