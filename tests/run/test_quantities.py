"""Bytes that a plan expects, against sums by hand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from memloc.run.quantities import checkpoint_bytes, result_bytes, train_passes
from memloc.stages.rewind.config import STAGE as REWIND
from memloc.stages.training.schema import TABLES
from memloc.store import schemas
from tests.run.test_plan import plan_of

WIDTHS = {pa.string(): 18, pa.int64(): 8, pa.int32(): 4, pa.float64(): 8, pa.bool_(): 1, pa.float32(): 4}
LIST = 8  # of a type whose values are as long as they are

TEXT = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 2, batch_size: 32}
blocks: {one: {stages: {rewind: {epochs: [0, 1]}}}}
"""


def width(schema: pa.Schema) -> int:
    return sum(WIDTHS.get(field.type, LIST) for field in schema)


def test_the_width_of_a_row() -> None:
    schema = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.int32()), ("d", pa.bool_()), ("e", pa.float32())])
    assert schemas.row_bytes(schema) == 18 + 8 + 4 + 1 + 4
    assert schemas.row_bytes(pa.schema([("layers", pa.list_(pa.string())), ("x", pa.float64())])) == 8 + 8


def test_rows_of_a_training_and_of_every_part(tmp_path: Path) -> None:
    (trial,) = plan_of(tmp_path, TEXT).trials
    training = width(TABLES["trials"]) + 2 * width(TABLES["epochs"]) + 100 * width(TABLES["examples"])
    rewind = 2 * 9 * width(REWIND.tables["rewind"])  # two epochs, nine groups
    assert result_bytes([trial]) == training + rewind
    assert result_bytes([trial, trial]) == 2 * (training + rewind)


def test_checkpoints_and_the_newest_state(tmp_path: Path) -> None:
    (trial,) = plan_of(tmp_path, TEXT).trials
    weights = 4 * trial.size.parameters
    assert checkpoint_bytes(trial, "all") == 3 * weights + weights + 8 * (8 + 10) * 100
    assert checkpoint_bytes(trial, "last") == weights + weights + 8 * (8 + 10) * 100


def test_passes_of_a_training(tmp_path: Path) -> None:
    """Forward and backward are three passes of every training example; a test image has one."""
    (trial,) = plan_of(tmp_path, TEXT).trials
    assert train_passes(trial) == 2 * (3 * 100 + 360)
    assert train_passes(trial, 1) == 3 * 100 + 360
