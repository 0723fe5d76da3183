"""The comparison of two stores' tables, on tables made by hand and on a store and copies of it."""

from __future__ import annotations

import json
import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import memloc
from benchmarks.same_tables import differences, report
from memloc.stages.training.schema import TABLES

TRAINING = {"dataset": "digits", "model": "resnet9", "seed": 0, "epochs": 2}


class Empty:
    """A store's tables without their rows."""

    def __init__(self, store: memloc.OpenStore) -> None:
        self.store = store

    @cache  # noqa: B019  (the tests of this module share one)
    def table(self, name: str) -> pa.Table:
        return self.store.table(name).slice(0, 0)


class Made:
    """Tables made by hand, of the columns that are given; every other table of a store is empty."""

    def __init__(self, empty: Empty, **tables: dict[str, list[Any]]) -> None:
        self.empty, self.tables = empty, tables

    def table(self, name: str) -> pa.Table:
        whole = self.empty.table(name)
        if name not in self.tables:
            return whole
        given = self.tables[name]
        types = {n: whole.schema.field(n).type if n in whole.column_names else None for n in given}
        return pa.table({n: pa.array(values, types[n]) for n, values in given.items()})


@pytest.fixture(scope="module")
def store(tiny: Path) -> Empty:
    return Empty(memloc.open_store(tiny))


def trials(*configs: dict[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    return {"trial": [f"{prefix}{i}" for i in range(len(configs))], "config": [json.dumps(c) for c in configs]}


def epochs(loss: list[float | None], trial: str = "0", order: tuple[int, ...] = (0, 1)) -> dict[str, list[Any]]:
    rows = {"trial": [trial] * 2, "epoch": [1, 2], "loss": loss, "seconds": [float(len(trial)), 1.0]}
    return {name: [values[i] for i in order] for name, values in rows.items()}


def compared(capsys: pytest.CaptureFixture[str], before: Made, after: Made) -> tuple[int, str]:
    code = report([before, after])
    return code, capsys.readouterr().out


def counts(out: str, table: str) -> list[str]:
    """Of one table: rows, columns, differing values, rows that one store alone has, new columns."""
    return next(line.split()[1:] for line in out.splitlines() if line.split()[0] == table)


def test_ids_order_of_rows_clock_and_neutral_values_are_no_difference(
    store: Empty, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Made(store, trials=trials(TRAINING), epochs=epochs([0.1, math.nan]))
    neutral = {**TRAINING, "batch_norm": "train", "noise_count": "round", "p_gen": None}
    after = Made(store, trials=trials(neutral, prefix="x"), epochs=epochs([0.1, -math.nan], "x0", (1, 0)))
    code, out = compared(capsys, before, after)
    assert code == 0
    assert counts(out, "epochs") == ["2", "2", "0", "0"]
    assert "equal, value by value" in out


@pytest.mark.parametrize("other", [math.nextafter(0.1, 1), None, math.nan])
def test_one_bit_null_and_nan_are_differences(store: Empty, capsys: pytest.CaptureFixture[str], other: float | None) -> None:
    made = [Made(store, trials=trials(TRAINING), epochs=epochs([0.5, loss])) for loss in (0.1, other)]
    code, out = compared(capsys, *made)
    assert code == 1
    assert f"epochs: loss of trial 0, epoch 2: 0.1 before, {other} after" in out
    assert "the tables differ" in out


def test_what_one_store_lacks_is_a_difference(store: Empty, capsys: pytest.CaptureFixture[str]) -> None:
    both = Made(store, trials=trials(TRAINING, {**TRAINING, "seed": 1}), epochs=epochs([0.5, 0.1]))
    for fewer in (
        Made(store, trials=trials(TRAINING), epochs=epochs([0.5, 0.1])),
        Made(store, trials=trials(TRAINING, {**TRAINING, "batch_norm": "frozen"}), epochs=epochs([0.5, 0.1])),
    ):
        for pair in ((both, fewer), (fewer, both)):
            code, out = compared(capsys, *pair)
            assert code == 1
            assert "trials: only in one store: trial 1" in out


def test_new_columns_are_named_and_lost_ones_are_differences(store: Empty, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"trial": ["0"], "example": [3], "aum": [0.25]}
    made = [
        Made(store, trials=trials(TRAINING), examples=rows | more) for more in ({}, {"mean_prob": [0.5]}, {"el2n": [0.5]})
    ]
    code, out = compared(capsys, made[0], made[1])
    assert code == 0
    assert counts(out, "examples") == ["1", "2", "0", "0", "mean_prob"]
    for pair in ((made[1], made[0]), (made[2], made[0]), (made[0], made[2])):
        assert compared(capsys, *pair)[0] == 1


def test_random_dropout_is_left_out(store: Empty, capsys: pytest.CaptureFixture[str]) -> None:
    for fields in ({"dropout": "standard", "keep": 0.4}, {"model": "vit_small"}):
        configs = trials(TRAINING, {**TRAINING, **fields})
        made = [Made(store, trials=configs, epochs=epochs([0.5, loss], "1")) for loss in (0.1, 0.2)]
        code, out = compared(capsys, *made)
        assert code == 0
        assert "not compared: 1 trainings and analyses" in out
        assert "epochs" not in out


def test_analyses_are_told_apart_by_their_settings(store: Empty, capsys: pytest.CaptureFixture[str]) -> None:
    def made(order: list[int], ids: str, accuracy: float = 0.5) -> Made:
        configs = [{"epochs": 2, "lr": 0.1}, {"epochs": 2, "lr": 0.2, "freeze": "others"}]
        rows = [(f"{ids}{i}", "0", "retrain", json.dumps(configs[i]), []) for i in order]
        analyses = dict(
            zip(("analysis", "trial", "stage", "config", "reads"), map(list, zip(*rows, strict=True)), strict=True)
        )
        values = {"analysis": [f"{ids}{i}" for i in order], "layer": ["conv1"] * 2, "epoch": [1, 1]}
        accuracies = {"clean_acc": [[0.25, accuracy][i] for i in order]}
        return Made(store, trials=trials(TRAINING), analyses=analyses, retrain=values | accuracies)

    assert compared(capsys, made([0, 1], "a"), made([1, 0], "b"))[0] == 0
    code, out = compared(capsys, made([0, 1], "a"), made([1, 0], "b", 0.75))
    assert code == 1
    assert "retrain: clean_acc of analysis a1, epoch 1, layer conv1: 0.5 before, 0.75 after" in out


def test_columns_of_every_type() -> None:
    pairs: list[tuple[list[Any], list[Any], pa.DataType]] = [
        ([1, None, 3], [1, None, 4], pa.int32()),
        (["a", None, "b"], ["a", None, None], pa.string()),
        ([True, None, False], [True, None, True], pa.bool_()),
        ([[1], None, [1, 2]], [[1], None, [2, 1]], pa.list_(pa.int32())),
        ([0.5, None, 0.0], [0.5, None, -0.0], pa.float32()),
        ([0.5, None, None], [0.5, None, 0.0], pa.float64()),
    ]
    for before, after, kind in pairs:
        one, other = (pa.chunked_array([pa.array(values, kind)]) for values in (before, after))
        assert differences(one, other).tolist() == [2], kind
        assert differences(one, one).tolist() == []


def test_a_store_against_a_copy_that_lacks_an_analysis(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = memloc.open_store(tiny)
    assert report([whole, whole]) == 0
    assert counts(capsys.readouterr().out, "examples") == ["200", str(len(TABLES["examples"]) - 1), "0", "0"]
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    lost = whole.sql("SELECT analysis FROM analyses WHERE stage = 'rewind'")["analysis"][0]
    gone = [path for path in (copy / "commits").rglob("*.json") if json.loads(path.read_text())["analysis"] == lost]
    assert gone
    gone[0].unlink()
    assert report([whole, memloc.open_store(copy)]) == 1
    out = capsys.readouterr().out
    assert f"rewind: only in one store: analysis {lost}" in out
    assert f"analyses: only in one store: analysis {lost}" in out
