"""Turns the rows of a table into bytes and back. The writer of a table has its schema: a stage, or training.

The store has two tables of its own. They are computed from the commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memloc.store import layout

Schemas = Mapping[str, pa.Schema]  # by table

OWN: dict[str, pa.Schema] = {
    "analyses": pa.schema(
        [
            ("analysis", pa.string()),
            ("trial", pa.string()),
            ("stage", pa.string()),
            ("config", pa.string()),
            ("reads", pa.list_(pa.string())),
            ("version", pa.int64()),
        ]
    ),
    "c_scores": pa.schema(
        [
            ("scores", pa.string()),
            ("dataset", pa.string()),
            ("model", pa.string()),
            ("noise", pa.float64()),
            ("seed", pa.int64()),
            ("data_seed", pa.int64()),
            ("config", pa.string()),
            ("example", pa.int64()),
            ("c_score", pa.float64()),
            ("memorization", pa.float64()),
            ("n_in", pa.int64()),
            ("n_out", pa.int64()),
        ]
    ),
}

# How Parquet files are written. Pinned settings: the same rows are the same bytes.
WRITTEN: Mapping[str, Any] = {"compression": "zstd", "version": "2.6", "write_page_checksum": True}
# Measured numbers hardly repeat, so a dictionary of them only costs. Of their bytes the first ones are alike, so these come
# together. Examples are counted up, so their differences are small. A table of examples is a quarter smaller, that of
# predictions two fifths.
_ENCODINGS: Mapping[pa.DataType, str] = {
    pa.float64(): "BYTE_STREAM_SPLIT",
    pa.float32(): "BYTE_STREAM_SPLIT",
    pa.int64(): "DELTA_BINARY_PACKED",
}

_BYTES = {pa.string(): 18, pa.int64(): 8, pa.int32(): 4, pa.float64(): 8, pa.bool_(): 1, pa.float32(): 4}


def row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row before compression, for estimates."""
    return sum(_BYTES.get(field.type, 8) for field in schema)


def sha8(schema: pa.Schema) -> str:
    """The name of a schema. Files whose schemas have the same name have the same columns."""
    return layout.sha8("\n".join(f"{field.name} {field.type}" for field in schema).encode())


def encode(table: str, columns: Mapping[str, Any], schema: pa.Schema) -> tuple[bytes, int]:
    """(Parquet bytes, rows) of columns that must be exactly the schema's."""
    if set(columns) != set(schema.names):
        raise ValueError(f"table {table} has columns {sorted(schema.names)}, got {sorted(columns)}")
    rows = pa.table({name: pa.array(columns[name], schema.field(name).type) for name in schema.names}, schema=schema)
    return written(rows), rows.num_rows


def settings(schema: pa.Schema) -> dict[str, Any]:
    """How files of a table with this schema are written."""
    encodings = {field.name: _ENCODINGS[field.type] for field in schema if field.type in _ENCODINGS}
    coded = [leaf for field in schema if field.name not in encodings for leaf in _leaves(field.name, field.type)]
    return {**WRITTEN, "column_encoding": encodings or None, "use_dictionary": coded}


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    """The columns of values, by their names in Parquet, that make up a column."""
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{path}.{field.name}", field.type)]
    return [path]


def written(rows: pa.Table) -> bytes:
    """The Parquet file of a part's rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, row_group_size=1 << 20, **settings(rows.schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content


def decode(content: bytes, schema: pa.Schema | None = None) -> pa.Table:
    """The rows of a data file, by default with its own columns. A column of `schema` that the file lacks is NULL."""
    rows = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    if schema is None or rows.schema.equals(schema):
        return rows
    return pq.read_table(pa.BufferReader(content), schema=schema)
