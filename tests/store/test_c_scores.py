"""Table c_scores, against a loop over the rows of the held-out trainings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memloc.api import OpenStore, open_store
from memloc.errors import MemlocWarning
from memloc.store import Store
from memloc.store.c_scores import MEMORIZATION_RATIO, MEMORIZATION_RUNS, score_sets
from tests.conftest import run_inline

TEXT = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, epochs: 3, batch_size: 16, lr: 0.05}
blocks:
  clean:
    stages: {held_out: {ratios: [0.3, 0.7], min_held_out: 6}}
  noisy:
    set: {noise: 0.2}
    stages: {held_out: {ratios: [0.4], min_held_out: 1}}
"""


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c_scores")
    run_inline(folder, TEXT, Store(str(folder / "store")))
    return folder / "store"


def by_hand(opened: OpenStore, noise: float, least: int) -> dict[int, tuple[float, float | None, int, int]]:
    """{example: its row}, one example at a time."""
    rows = opened.sql(
        "SELECT t.noise, t.config->>'ratio' AS ratio, h.* FROM held_out h JOIN trials t USING (trial)"
    ).astype({"ratio": float})  # fmt: skip
    rows = rows[rows["noise"] == noise]
    found: dict[int, tuple[float, float | None, int, int]] = {}
    for example, own in rows.groupby("example"):
        out = own[~own["held_in"]]
        c_score = out.groupby("ratio")["correct"].mean().mean()
        at = own[own["ratio"] == 0.7]
        n_in, n_out = int(at["held_in"].sum()), int((~at["held_in"]).sum())
        memorization = None
        if n_in >= least and n_out >= least:
            memorization = at["correct"][at["held_in"]].mean() - at["correct"][~at["held_in"]].mean()
        found[int(example)] = (c_score, memorization, n_in, n_out)  # type: ignore[call-overload]
    return found


@pytest.mark.parametrize("least", [6, 20])
def test_scores_are_those_of_a_loop(uri: Path, monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    monkeypatch.setattr("memloc.store.c_scores.MEMORIZATION_RUNS", least)
    opened = open_store(str(uri))
    table = opened.table("c_scores").to_pylist()
    assert len(table) == 2 * 60
    assert len({row["scores"] for row in table}) == 2
    for noise in (0.0, 0.2):
        expected = by_hand(opened, noise, least)
        mine = [row for row in table if row["noise"] == noise]
        assert [row["example"] for row in mine] == sorted(expected)
        for row in mine:
            c_score, memorization, n_in, n_out = expected[row["example"]]
            assert row["c_score"] == pytest.approx(c_score, abs=1e-12)
            assert row["memorization"] == (None if memorization is None else pytest.approx(memorization, abs=1e-12))
            assert (row["n_in"], row["n_out"]) == (n_in, n_out)
            assert (row["dataset"], row["data_seed"], row["seed"]) == ("digits", 0, 0)
    clean = [row for row in table if row["noise"] == 0.0]
    assert {row["n_out"] for row in clean} == {6}
    assert all((row["memorization"] is None) == (least == 20) for row in clean)
    assert len({row["c_score"] for row in clean}) > 3


def test_queries_and_sweeps_serve_it(uri: Path) -> None:
    opened = open_store(str(uri))
    whole = opened.pandas("c_scores")
    pd.testing.assert_frame_equal(opened.sql("FROM C_scores"), whole)
    pd.testing.assert_frame_equal(opened.pandas("c_scores", sweep="tiny"), whole)
    joined = opened.sql("SELECT count(*) AS n FROM examples JOIN c_scores USING (example) WHERE c_scores.noise = 0")
    assert joined["n"].tolist() == [opened.pandas("trials")["n_train"].sum()]


def test_only_complete_sets_whatever_else_is_there(uri: Path, tmp_path: Path) -> None:
    shutil.copytree(uri, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    victim = next(c for c in store.snapshot().commits.values() if c.stage == "held_out" and c.config["min_held_out"] == 6)
    store.quarantine(store.snapshot().paths[victim.id])
    opened = open_store(store.uri)
    assert set(opened.pandas("c_scores")["noise"]) == {0.2}
    assert set(opened.pandas("c_scores", partial=True)["noise"]) == {0.2}
    commits = list(store.snapshot().commits.values())
    assert sorted((s.complete, len(s.runs)) for s in score_sets(commits)) == [(False, 28), (True, 2)]


def test_more_runs_take_the_trainings_that_are_there(uri: Path, tmp_path: Path) -> None:
    shutil.copytree(uri, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    before = {c.trial for c in store.snapshot().trainings().values()}
    text = TEXT.replace("min_held_out: 6", "min_held_out: 7").split("  noisy:")[0]
    run_inline(tmp_path, text, store)
    new = store.snapshot().trainings().keys() - before
    assert len(new) == (10 - 9) + (24 - 20)  # ⌈7·60/42⌉ and ⌈7·60/18⌉ of them in all
    with pytest.warns(MemlocWarning, match="two different sweeps have this name"):
        found: Any = open_store(store.uri).pandas("c_scores", sweep="tiny")
    more = found[found["config"].str.contains('"min_held_out":7')]
    assert (len(more), np.unique(more["n_out"]).tolist()) == (60, [7, 8])


def test_a_sweep_without_held_out_trainings_sees_them(uri: Path, tmp_path: Path) -> None:
    """Claim E5 and the leaderboard of sweep paper-grid ask for what sweep cscore has made."""
    shutil.copytree(uri, tmp_path / "store")
    store = Store(str(tmp_path / "store"))
    defaults = TEXT.split("blocks:")[0]
    run_inline(tmp_path, f"{defaults}blocks:\n  other:\n    stages: {{evaluate: {{}}}}\n", store, name="other")
    opened = open_store(store.uri)
    whole: Any = opened.pandas("c_scores")
    seen: Any = opened.sql("SELECT * FROM c_scores", sweep="other")
    assert len(seen) == len(whole) > 0
    assert len(opened.pandas("c_scores", sweep="other")) == len(whole)
    assert opened.sql("SELECT * FROM held_out", sweep="other").empty


def test_the_numbers_of_the_definition() -> None:
    """Feldman and Zhang's share, and the runs below which memorization is NULL."""
    assert (MEMORIZATION_RATIO, MEMORIZATION_RUNS) == (0.7, 20)
