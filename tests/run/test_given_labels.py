"""Labels that are wrong as given are treated as if the same wrong labels had been drawn: every table is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from memloc.analysis.reading import read_table, run_sql
from memloc.data import load, prepare
from memloc.models.architectures import resolved
from memloc.papers.judging import judge
from memloc.papers.registry import paper
from memloc.store import Store
from tests.conftest import planned, run_inline

SWEEP = """
defaults: {dataset: "npz:FILE", model: resnet9, width: 0.0625, epochs: 2, batch_size: 25, NOISE}
blocks:
  all:
    stages:
      {gradients: {}, rewind: {epochs: [0, 2]}, retrain: {epochs: 1}, evaluate: {}, second_split: {}, detection: {},
       flips: {clean: 4, noisy: 4, max_neurons: 3, repeats: 1}}
"""
TABLES = ("epochs", "examples", "gradients", "rewind", "retrain", "evaluation", "predictions", "second_split", "detection")
RATE = 0.1


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """{"drawn": wrong labels are drawn, "given": the file has the same ones}."""
    folder = tmp_path_factory.mktemp("given")
    raw = load("digits")
    x, y = raw.x_train[:100, 0], raw.y_train[:100]
    test = {"x_test": raw.x_test[:20, 0], "y_test": raw.y_test[:20]}
    np.savez(folder / "drawn.npz", x_train=x, y_train=y, **test)
    drawn = resolved(dataset=f"npz:{folder}/drawn.npz", model="resnet9", noise=RATE)
    data = prepare(load(drawn.source), drawn)
    np.savez(folder / "given.npz", x_train=x, y_train=data.y, y_true=y, **test)
    made = {}
    for name, noise in (("drawn", f"noise: {RATE}"), ("given", "noise: 0")):
        made[name] = Store(str(folder / name))
        run_inline(folder, SWEEP.replace("FILE", f"{name}.npz").replace("NOISE", noise), made[name], name)
    return made


def rows(store: Store, table: str) -> pa.Table:
    whole = read_table(store, table, None, False)
    return whole.drop_columns([c for c in ("trial", "analysis", "seconds") if c in whole.column_names])


@pytest.mark.parametrize("table", [*TABLES, "flips"])
def test_every_table_is_the_same(stores: dict[str, Store], table: str) -> None:
    drawn, given = (rows(stores[name], table) for name in ("drawn", "given"))
    assert drawn.num_rows > 0
    assert drawn.equals(given)


@pytest.mark.parametrize("written", ["true", "'true'"])
def test_the_true_labels_are_asked_for_as_the_pages_say(tmp_path: Path, written: str) -> None:
    """In YAML `true` is no text."""
    x, y = np.zeros((40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.roll(y, 1), y_true=y)
    fields = f"dataset: 'npz:mine.npz', model: resnet9, width: 0.0625, epochs: 1, labels: {written}"
    (trial,) = planned(tmp_path, f"defaults: {{{fields}}}\nblocks: {{a: {{stages: {{evaluate: {{}}}}}}}}").trials
    assert trial.config.source.labels == "true"  # type: ignore[attr-defined]


def test_the_share_of_wrong_labels_is_told(stores: dict[str, Store]) -> None:
    sql = "SELECT noise, given_noise, labels, (SELECT count_if(noisy) FROM examples) AS wrong FROM trials"
    assert run_sql(stores["given"], sql, None, False).to_pylist() == [
        {"noise": 0.0, "given_noise": RATE, "labels": "given", "wrong": 10}
    ]
    assert run_sql(stores["drawn"], sql, None, False).to_pylist()[0]["given_noise"] is None


def test_the_scorecard_is_the_same(stores: dict[str, Store]) -> None:
    """Apart from the settings' names: given noise has a rate of its own. Two epochs memorize nothing, which it says."""
    judged = {
        name: sorted((j.claim, j.verdict, j.reason, j.ours is None) for j in judge(store, paper("maini2023"), None))
        for name, store in stores.items()
    }
    assert sum(verdict == "not_testable" for _, verdict, *_ in judged["drawn"]) > 5
    assert judged["given"] == judged["drawn"]
