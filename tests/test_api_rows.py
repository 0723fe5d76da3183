"""Tables and views from a notebook: of the whole store, of one trial, and as HTML."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import memloc
from memloc.analysis.views import VIEWS
from memloc.api import OpenStore
from memloc.data import load
from memloc.errors import UsageError
from memloc.store import Store, layout
from tests.conftest import run_inline

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, epochs: 2, batch_size: 20}
blocks:
  a:
    axes: {noise: [0.1, 0.2]}
    set: {seed: 3}
    stages: {gradients: {at: checkpoint}, rewind: {epochs: [0, 2]}, flips: {clean: 3, noisy: 3, post_eval: 0}}
"""
LAYERS = ["conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    folder = tmp_path_factory.mktemp("rows")
    run_inline(folder, SWEEP, Store(str(folder / "store")), name="two")
    return memloc.open_store(folder / "store")


def test_views_are_read_like_tables(opened: OpenStore) -> None:
    for view in VIEWS:
        frame = opened.pandas(view)
        asked = opened.sql(f"SELECT * FROM {view}")
        columns = [c for c in frame.columns if not frame[c].map(lambda v: isinstance(v, list | np.ndarray)).any()]
        pd.testing.assert_frame_equal(
            frame[columns], asked[columns].sort_values(columns, ignore_index=True), check_dtype=False
        )
        assert opened.table(view).to_pandas().equals(frame)
        assert opened.table(view, sweep="two").num_rows == len(frame)
    assert len(opened.pandas("gradient_layers")) == 2 * 3 * 9
    with pytest.raises(UsageError, match=r"no such table or view \(did you mean 'gradient_layers'"):
        opened.table("gradient_layer")


def test_a_trials_rows_are_its_own_in_network_order(opened: OpenStore) -> None:
    for trial in opened.trials():
        for name in ("rewind", "gradients", "gradient_layers"):
            rows = trial.pandas(name)
            assert list(dict.fromkeys(rows["layer"])) == LAYERS
            assert rows["layer"].map(LAYERS.index).is_monotonic_increasing
            whole = opened.pandas(name)
            whole = whole[whole["trial"] == trial.id]
            by = [c for c in ("layer", "epoch", "param") if c in whole.columns]
            pd.testing.assert_frame_equal(rows.sort_values(by, ignore_index=True), whole.sort_values(by, ignore_index=True))
        epochs = trial.pandas("epochs")
        assert epochs["epoch"].tolist() == [1, 2]
        assert set(epochs["trial"]) == {trial.id}
        assert (
            len(trial.pandas("flip_counts")) == opened.sql(f"SELECT * FROM flip_counts WHERE trial = '{trial.id}'").shape[0]
        )
    with pytest.raises(UsageError, match=r"c_scores: has no column trial; store.table\('c_scores'\) reads it"):
        opened.trials()[0].pandas("c_scores")
    with pytest.raises(UsageError, match="did you mean 'rewind'"):
        opened.trials()[0].table("rewnd")


def test_several_values_mean_any_of_them(opened: OpenStore) -> None:
    assert [t.config.noise for t in opened.trials(noise=[0.1, 0.2])] == [t.config.noise for t in opened.trials()]
    assert [t.config.noise for t in opened.trials(noise=(0.2, 0.3))] == [0.2]
    assert [t.config.noise for t in opened.trials(noise={0.1}, seed=[3, 4])] == [0.1]
    assert opened.trials(noise=[]) == []
    with pytest.raises(UsageError) as raised:
        opened.trials(noise=[0.1, 2.0], model="resnet8", sed=3)
    assert [p.split(":")[0] for p in raised.value.problems] == ["noise", "model", "sed"]
    assert "did you mean 'resnet9'" in str(raised.value)


def test_values_from_its_own_rows_are_taken(opened: OpenStore) -> None:
    """Numbers of NumPy and pandas, as a table has them."""
    rows = opened.pandas("trials")
    every = opened.trials()
    assert [t.id for t in opened.trials(seed=rows["seed"])] == [t.id for t in every]
    assert [t.id for t in opened.trials(seed=rows["seed"].unique(), epochs=range(1, 5))] == [t.id for t in every]
    (one,) = (t.config.noise for t in opened.trials(noise=rows["noise"][0], seed=rows["seed"][0]))
    assert one == rows["noise"][0]
    assert opened.trials(seed=list(rows["seed"] + 1), epochs=[rows["epochs"][0]]) == []


def test_epochs_are_those_whose_checkpoint_is_there(opened: OpenStore, tmp_path: Path) -> None:
    folder = shutil.copytree(opened.uri, tmp_path / "copy")
    copy = memloc.open_store(folder)
    trial = copy.trials()[0]
    assert trial.epochs == (0, 1, 2)
    (folder / layout.checkpoint(trial.id, 1)).unlink()
    assert trial.epochs == (0, 2)
    for epoch in trial.epochs:
        trial.model(epoch)


def test_data_lie_where_open_store_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    np.savez(here / "mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = 'defaults: {dataset: "npz:mine.npz", model: resnet9, width: 0.0625, epochs: 1}\nblocks: {a: {}}\n'
    run_inline(here, text, Store(str(tmp_path / "store")))
    seen = []

    def watched(dataset: str, folder: Path) -> object:
        seen.append(folder)
        return load(dataset, folder)

    monkeypatch.setattr("memloc.data.load", watched)
    monkeypatch.setenv("MEMLOC_DATA", str(tmp_path / "environment"))
    memloc.open_store(tmp_path / "store", data_dir=there).trials()[0].data()
    memloc.open_store(tmp_path / "store").trials()[0].data()
    assert seen == [there, tmp_path / "environment"]


def test_what_a_notebook_shows(opened: OpenStore) -> None:
    html = opened._repr_html_()
    assert "<td>two</td>" in html
    assert "<td>rewind</td>" in html
    (first, second) = opened.trials()
    listed = opened.trials()._repr_html_()
    assert first.id in listed
    assert "<th>noise</th>" in listed
    assert "<th>seed</th>" not in listed  # the same in both
    assert "<td>batch_size</td>" in second._repr_html_()
    assert "p_gen" not in second._repr_html_()
    assert "0 trials" in opened.trials(noise=0.5)._repr_html_()


def test_nothing_in_a_store_is_markup(tmp_path: Path) -> None:
    folder = tmp_path / "<script>alert(1)<" / "&amp;"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez(folder / "<b>.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = 'defaults: {dataset: "npz:<b>.npz", model: resnet9, width: 0.0625, epochs: 1}\nblocks: {a: {}}\n'
    run_inline(folder, text, Store(str(folder / "store")))
    opened = memloc.open_store(folder / "store")
    shown = opened._repr_html_() + opened.trials()._repr_html_() + opened.trials()[0]._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;.npz" in shown
    assert "&amp;amp;" in shown


def test_types_are_there_for_users() -> None:
    assert (Path(memloc.__file__).parent / "py.typed").is_file()


def test_a_date_that_python_has_not_is_one_line(tiny: Path) -> None:
    store = memloc.open_store(str(tiny))
    message = r"^SQL: pandas has no such value: .*; make it text, such as CAST\(x AS VARCHAR\)$"
    for value in ("'infinity'::DATE", "'12000-01-01'::DATE", "'24:00:00'::TIME", "['infinity'::DATE]"):
        with pytest.raises(UsageError, match=message):
            store.sql(f"SELECT {value} AS x")
    assert store.sql("SELECT 'infinity'::DATE::VARCHAR AS x")["x"].tolist() == ["infinity"]
