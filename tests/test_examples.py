"""The scripts in examples/: plain PyTorch on a trial gives the numbers of the tables."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import memloc
from memloc import seeds
from memloc.api import OpenStore, Trial
from memloc.errors import UsageError
from memloc.store import Store
from tests.conftest import run_inline, shared

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> OpenStore:
    """A finished store of examples/recompute.yaml."""
    text = (EXAMPLES / "recompute.yaml").read_text()
    made = shared(tmp_path_factory, "recompute", lambda f: run_inline(f, text, Store(str(f / "store")), "recompute"))
    return memloc.open_store(made / "store")


@pytest.fixture(scope="module")
def trial(store: OpenStore) -> Trial:
    return store.trials(dropout="none")[0]


def compared(capsys: pytest.CaptureFixture[str], name: str, store: OpenStore, trial: Trial, *what: Any) -> pd.DataFrame:
    """What a script compares, as it prints it: columns `recomputed` and `table`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, store.uri, trial.id, *map(str, what)])
        frame = runpy.run_path(str(EXAMPLES / name))["compared"]
    assert capsys.readouterr().out == frame.to_string() + "\n"
    assert isinstance(frame, pd.DataFrame)
    return frame


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_has_less_than_30_lines(script: Path) -> None:
    tree = ast.parse(script.read_text())
    docstring = tree.body[0]
    assert f"python examples/{script.name} STORE TRIAL" in (ast.get_docstring(tree) or "")
    lines = script.read_text().splitlines()[docstring.end_lineno :]
    assert len([line for line in lines if line.strip()]) < 30


def test_the_page_has_every_script_with_trials_that_are_there(store: OpenStore) -> None:
    page = (EXAMPLES.parent / "docs" / "recompute.md").read_text()
    commands = dict(re.findall(r"^\$ python examples/(\S+) again (\S+)", page, flags=re.M))
    assert sorted(commands) == [script.name for script in SCRIPTS]
    tied = store.trials(dropout="example_tied")
    assert {name for name, trial in commands.items() if store.trial(trial).id == tied[0].id} == {"example_tied.py"}


@pytest.mark.parametrize(("layer", "epoch"), [("conv1", 0), ("res2.conv1", 5), ("linear", 5)])
def test_rewinding(capsys: pytest.CaptureFixture[str], store: OpenStore, trial: Trial, layer: str, epoch: int) -> None:
    frame = compared(capsys, "rewinding.py", store, trial, layer, epoch)
    again, table = frame["recomputed"], frame["table"]
    # Folded batch norms round otherwise, so an image near a boundary may fall on its other side.
    assert (abs(again - table)[["clean_acc", "noisy_acc", "test_acc"]] <= [1 / 180, 1 / 20, 1 / 360]).all()
    assert again.tolist()[3:] == pytest.approx(table.tolist()[3:], rel=1e-4)
    final = trial.pandas("rewind").query("layer == @layer and epoch == 20").iloc[0]
    assert table["noisy_loss"] != pytest.approx(final["noisy_loss"], rel=0.1)


def test_flips(capsys: pytest.CaptureFixture[str], store: OpenStore, trial: Trial) -> None:
    rows = trial.pandas("flips").query("eligible and count > 0").sort_values("count", ascending=False).head(3)
    agree = 0
    for row in rows.to_dict("records"):
        frame = compared(capsys, "flips.py", store, trial, row["example"])
        assert frame["table"].tolist() == [list(zip(row["layers"], row["indices"], strict=True)), row["new_class"]]
        agree += frame["recomputed"].tolist() == frame["table"].tolist()
    assert agree >= 2  # rounding decides between two neurons of nearly the same score


def test_accuracies_after_flips(capsys: pytest.CaptureFixture[str], store: OpenStore, trial: Trial) -> None:
    rows = trial.pandas("flips").query("eligible").drop_duplicates("clean_acc").head(3)
    assert len(rows) > 1
    for row in rows.to_dict("records"):
        frame = compared(capsys, "flip_accuracies.py", store, trial, row["example"])
        assert (abs(frame["recomputed"] - frame["table"]) <= [1 / 29, 1 / 19, 1 / 30]).all()
        assert frame["table"].tolist() == [row["clean_acc"], row["noisy_acc"], row["test_acc"]]


def test_the_rows_of_the_accuracies_can_be_asked_for(store: OpenStore, trial: Trial) -> None:
    (analysis,) = trial.pandas("flips").analysis.unique()
    rows, test_rows = trial.flip_rows(analysis)
    data = trial.data()
    assert (rows.dtype, test_rows.dtype) == (torch.int64, torch.int64)
    assert rows.tolist() == sorted(set(rows.tolist()))  # post_eval: 60
    assert (int((~data.noisy[rows]).sum()), int(data.noisy[rows].sum()), len(set(test_rows.tolist()))) == (30, 20, 30)
    (tied,) = store.trials(dropout="example_tied")
    for asked, of in ((analysis, tied), ("x", trial), (trial.pandas("rewind").analysis[0], trial)):
        with pytest.raises(UsageError, match=f"is no complete analysis of stage flips of trial {of.id}"):
            of.flip_rows(asked)


def test_keyed_draws_are_those_of_the_training(trial: Trial) -> None:
    draws = [trial.stream("flip noise", np.int64(7), 0, 1).standard_normal(3, "f").tolist() for _ in range(2)]
    assert draws[0] == draws[1] != trial.stream("flip noise", 7, 0, 2).standard_normal(3, "f").tolist()
    assert seeds.stream(0, "flip noise", 7, 0, 1).standard_normal(3, "f").tolist() == draws[0]
    with pytest.raises(UsageError, match="is of type float; valid: text or a whole number"):
        trial.stream("flip noise", 7.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="purpose: is empty"):
        trial.stream("")


def test_example_tied(capsys: pytest.CaptureFixture[str], store: OpenStore) -> None:
    (tied,) = store.trials(dropout="example_tied")
    frame = compared(capsys, "example_tied.py", store, tied)
    stored = tied.pandas("evaluation").query("rescale == 'none'").set_index("mode")
    modes = ["own", "scaled", "dropped"]
    assert frame["table"].tolist() == [stored[f"{which}_acc"][mode] for mode in modes for which in ("clean", "noisy")]
    assert (abs(frame["recomputed"] - frame["table"]) <= [1 / 180, 1 / 20] * 3).all()
    assert frame["table"]["own", "noisy_acc"] > frame["table"]["dropped", "noisy_acc"] + 0.3


@pytest.mark.parametrize(("layer", "epoch"), [("conv3", 2), ("res1.conv2", 20)])
def test_gradient_norm(capsys: pytest.CaptureFixture[str], store: OpenStore, trial: Trial, layer: str, epoch: int) -> None:
    frame = compared(capsys, "gradient_norm.py", store, trial, layer, epoch)
    assert frame.index.tolist() == ["sq_clean", "sq_noisy"]
    assert frame["recomputed"].tolist() == pytest.approx(frame["table"].tolist(), rel=1e-3)
    assert frame["table"].min() > 0


def test_retraining(capsys: pytest.CaptureFixture[str], store: OpenStore, trial: Trial) -> None:
    frame = compared(capsys, "retraining.py", store, trial, "conv3")
    assert frame.index.tolist() == [0, 1, 2, 3]
    # A step amplifies rounding: exact at the beginning, then within a few images.
    apart = abs(frame["recomputed"] - frame["table"])
    assert (apart <= [3 / 180, 3 / 20]).all(axis=None)
    assert (apart.loc[0] <= [1 / 180, 1 / 20]).all()
    assert frame["table"].noisy_acc.nunique() > 1
