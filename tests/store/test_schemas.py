"""How rows become bytes: every value comes back, and columns are encoded by what they are like."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc.store import schemas
from memloc.store.generation_writer import GenerationWriter
from memloc.store.layout import sha256

DRAW = np.random.default_rng(0)
N = 2000
ROWS = pa.table(
    {
        "trial": pa.array(["a" * 16] * N),
        "example": pa.array(range(0, 3 * N, 3), pa.int64()),
        "label": pa.array(DRAW.integers(0, 10, N), pa.int32()),
        "noisy": pa.array(DRAW.random(N) < 0.1),
        "loss": pa.array(DRAW.exponential(size=N), pa.float64()),
        "margin": pa.array(DRAW.random(N), pa.float32()),
        "layers": pa.array([["conv1", "linear"], []] * (N // 2), pa.list_(pa.string())),
        "indices": pa.array([[1, 7], None] * (N // 2), pa.list_(pa.int64())),
        "none": pa.nulls(N, pa.float64()),
    }
)
WANTED = {
    "trial": "RLE_DICTIONARY",
    "example": "DELTA_BINARY_PACKED",
    "label": "RLE_DICTIONARY",
    "loss": "BYTE_STREAM_SPLIT",
    "margin": "BYTE_STREAM_SPLIT",
    "layers.list.element": "RLE_DICTIONARY",
    "indices.list.element": "RLE_DICTIONARY",
}


def encodings(content: bytes) -> dict[str, tuple[str, ...]]:
    group = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0)
    columns = [group.column(k) for k in range(group.num_columns)]
    return {column.path_in_schema: column.encodings for column in columns}


def as_generation(rows: pa.Table) -> bytes:
    """The file of a generation with these rows alone."""

    class Kept:
        content = b""

        def put(self, path: str, content: bytes) -> None:
            self.content = content

    kept = Kept()
    writer = GenerationWriter(kept, "x", 1, rows.schema, 1 << 20)  # type: ignore[arg-type]
    writer.add("0" * 16, rows)
    writer.finish()
    assert sha256(kept.content) == writer.finished[0].sha256
    return kept.content


@pytest.mark.parametrize("write", [schemas.written, as_generation])
def test_columns_are_encoded_by_what_they_are_like(write: Callable[[pa.Table], bytes]) -> None:
    content = write(ROWS)
    assert pq.read_table(io.BytesIO(content)).select(ROWS.column_names).equals(ROWS)
    found = encodings(content)
    assert {name: set(WANTED.values()) & set(found[name]) for name in WANTED} == {n: {e} for n, e in WANTED.items()}


def test_equal_rows_are_equal_bytes_and_fewer_than_by_default() -> None:
    sink = io.BytesIO()
    pq.write_table(ROWS, sink, **schemas.WRITTEN)
    assert schemas.written(ROWS) == schemas.written(ROWS.slice(0))
    assert len(schemas.written(ROWS)) < 0.8 * len(sink.getvalue())
    assert schemas.decode(schemas.written(ROWS), ROWS.schema).equals(ROWS)
