"""Table trials: every field of a training is a column, by the types alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memloc.analysis.reading import run_sql
from memloc.config import canonical
from memloc.models.architectures import TRAINING, resolved
from memloc.stages.training.schema import FIRST, TABLES, trial_row
from memloc.store import Store
from memloc.store.schemas import decode, encode
from tests.conftest import run_inline

BASE: dict[str, Any] = {"dataset": "digits", "model": "resnet9"}
TIED = {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1}
OF_NO_FIELD = {"trial", "n_train", "given_noise", "stopped", "version", "config"}


def test_every_field_of_a_training_is_a_column() -> None:
    names = TABLES["trials"].names
    assert set(names) == set(TRAINING) | OF_NO_FIELD
    assert names[:14] == [
        "trial", "dataset", "model", "width", "noise", "seed", "data_seed", "dropout", "p_gen", "p_mem", "keep", "epochs",
        "n_train", "config",
    ]  # fmt: skip
    types = {field.name: field.type for field in TABLES["trials"]}
    assert [types[n] for n in ("lr", "batch_size", "compile", "schedule", "cut", "ratio", "peak_epoch", "stem")] == [
        pa.float64(), pa.int64(), pa.bool_(), pa.string(), pa.int64(), pa.float64(), pa.int64(), pa.string(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [{}, TIED, {"dropout": "sparse"}, {"batch_norm": "frozen", "stochastic": "on"}, {"ratio": 0.7, "cut": 2},
     {"model": "vit_small"}, {"model": "timm:test_vit"}],
)  # fmt: skip
def test_a_row_holds_what_is_used_and_null_elsewhere(fields: dict[str, Any]) -> None:
    config = resolved(**{**BASE, **fields})
    row = {name: value for name, (value,) in trial_row("t", config, 99).items()}
    assert {name: row[name] for name in TRAINING if row[name] is not None} == {
        name: value for name, value in config.flat().items() if value is not None
    }
    assert (row["trial"], row["n_train"], json.loads(row["config"])) == ("t", 99, canonical(config))
    content, rows = encode("trials", trial_row("t", config, 99), TABLES["trials"])
    assert rows == 1
    assert decode(content).to_pylist() == [row]


def test_rows_from_before_a_column_read_as_null() -> None:
    config = resolved(**BASE)
    old = pa.schema(list(FIRST))
    content, _ = encode("trials", {name: trial_row("t", config, 99)[name] for name in old.names}, old)
    (row,) = decode(content, TABLES["trials"]).to_pylist()
    assert (row["dataset"], row["n_train"], row["lr"], row["batch_size"]) == ("digits", 99, None, None)


def test_from_a_query(tmp_path: Path) -> None:
    text = """defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 40, epochs: 1, batch_size: 20}
blocks: {a: {axes: {lr: [0.05, 0.1]}}, b: {set: {dropout: example_tied, p_gen: 0.2, p_mem: 0.1}}}
"""
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, text, store)
    rows = run_sql(
        store, "SELECT lr, batch_size, masks, stem, compile, peak_epoch FROM trials ORDER BY lr, masks"
    ).to_pylist()
    common = {"batch_size": 20, "stem": None, "compile": False, "peak_epoch": 1}
    assert rows == [
        {"lr": 0.05, "masks": None, **common}, {"lr": 0.1, "masks": "site", **common}, {"lr": 0.1, "masks": None, **common},
    ]  # fmt: skip
