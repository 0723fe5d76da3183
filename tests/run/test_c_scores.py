"""`memorized: c_score:PATH`: which examples are S_n, what enters an identity, and what happens while the file is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc import sweep
from memloc.api import open_store
from memloc.config import canonical
from memloc.data import load
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.run.plan import Plan, Unmet
from memloc.run.planner import build_plan
from memloc.run.retention import kept_epochs
from memloc.run.score_sources import same_labels
from memloc.stages import REGISTRY
from memloc.store import Store
from memloc.sweep import loading
from tests.commands.test_query import run
from tests.conftest import run_inline

N = 1437
TEXT = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 120, epochs: 3, batch_size: 32}
blocks:
  atypical:
    stages:
      gradients: {epochs: [3], memorized: "c_score:scores.npy"}
      rewind: {epochs: [0, 3], memorized: "c_score:scores.npy"}
      retrain: {epochs: 2, memorized: "c_score:scores.npy"}
      flips: {clean: 3, noisy: 40, post_eval: 0, memorized: "c_score:scores.npy"}
      evaluate: {}
  labels:
    stages: {rewind: {epochs: [0, 3]}}
"""


def scores() -> np.ndarray:
    return np.random.default_rng(0).random(N)


def plan_of(folder: Path, text: str = TEXT, *overrides: str) -> Plan:
    (folder / "my.yaml").write_text(text)
    loaded = sweep.load(folder / "my.yaml", REGISTRY, overrides)
    return build_plan(loaded, loaded.entries, folder / "data")


def ids(plan: Plan) -> dict[str, str]:
    return {a.stage: a.id for t in plan.trials for a in t.analyses if a.c_scores}


def test_noisy_is_the_atypical_set_in_the_rows_of_the_analysis_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", scores())
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, TEXT, store)
    opened = open_store(store.uri)
    examples, flips = opened.pandas("examples"), opened.pandas("flips")
    of_training = examples["example"].to_numpy()
    low = {int(e) for e in of_training if scores()[e] < 0.5}
    assert 40 < len(low) < 80
    assert not examples["noisy"].any()
    assert len(flips) == 43
    assert set(flips["example"][flips["noisy"]]) <= low
    assert not set(flips["example"][~flips["noisy"]]) & low
    atypical, labels = (opened.sql(f"SELECT * FROM rewind JOIN analyses USING (analysis) WHERE {w}") for w in (
        "config LIKE '%c_score:%'", "config NOT LIKE '%c_score:%'"))  # fmt: skip
    assert labels["noisy_acc"].isna().all()
    # The whole network at epoch 3, against its own predictions.
    predictions = opened.pandas("predictions")
    right = {int(e): bool(c) for e, c in zip(predictions["example"], predictions["correct"], strict=True)}
    final = atypical[atypical["epoch"] == 3]
    assert final["noisy_acc"].tolist() == pytest.approx([np.mean([right[e] for e in low])] * 9, abs=0)
    assert final["clean_acc"].tolist() == [float(np.mean([c for e, c in right.items() if e not in low]))] * 9
    assert opened.pandas("gradients")["sq_noisy"].gt(0).all()
    assert opened.pandas("retrain")["noisy_acc"].notna().all()


def test_the_scores_enter_the_identity_and_where_they_lie_does_not(tmp_path: Path) -> None:
    np.save(tmp_path / "scores.npy", scores())
    base = ids(plan_of(tmp_path))
    assert set(base) == {"gradients", "rewind", "retrain", "flips"}
    np.savez(tmp_path / "other.npz", scores=scores(), labels=load("digits").y_train)
    assert ids(plan_of(tmp_path, TEXT.replace("scores.npy", str(tmp_path / "other.npz")))) == base
    lower = ids(plan_of(tmp_path, TEXT.replace("rewind: {", "rewind: {c_score_below: 0.4, ", 1)))
    assert {s for s in base if base[s] != lower[s]} == {"rewind"}
    assert ids(plan_of(tmp_path, TEXT.replace("rewind: {", "rewind: {c_score_below: 0.5, ", 1))) == base
    np.save(tmp_path / "scores.npy", scores()[::-1])
    changed = ids(plan_of(tmp_path))
    assert not set(changed.values()) & set(base.values())


def test_a_file_that_is_missing_leaves_the_rest(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    (trial,) = plan.trials
    assert [a.stage for a in trial.analyses] == ["evaluate", "rewind"]
    assert {(u.block, u.stage, u.need.what) for u in plan.unmet} == {
        ("atypical", stage, str(tmp_path / "scores.npy")) for stage in ("gradients", "rewind", "retrain", "flips")
    }
    (line,) = plan.needs()
    assert line.startswith(f"block atypical (gradients, rewind, retrain, flips) needs: {tmp_path}/scores.npy; put the file")
    assert kept_epochs(trial, "last") == {0, 1, 2, 3}  # whatever these will read
    np.save(tmp_path / "scores.npy", scores())
    assert kept_epochs(plan_of(tmp_path).trials[0], "last") == {3}


def test_what_reads_an_analysis_that_waits_waits_too(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, TEXT.replace("evaluate: {}", "detection: {}"))
    assert [u.stage for u in plan.unmet if u.stage in ("flips", "detection")] == ["flips", "detection"]
    np.save(tmp_path / "scores.npy", scores())
    plan = plan_of(tmp_path, TEXT.replace("evaluate: {}", "detection: {}"))
    assert plan.unmet == list[Unmet]()
    assert [len(a.reads) for a in plan.trials[0].analyses if a.stage == "detection"] == [1]


def test_a_shipped_sweep_looks_in_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(loading, "shipped", lambda: {"my": tmp_path / "my.yaml"})
    assert plan_of(tmp_path).unmet[0].need.what == str(tmp_path / "data" / "scores.npy")
    np.save(tmp_path / "data" / "scores.npy", scores())
    assert not plan_of(tmp_path).unmet


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        (
            'rewind: {memorized: "c_score:"}',
            ":5:blocks.a.stages.rewind.memorized: 'c_score:' is not valid; valid: labels, c_s",
        ),
        ("rewind: {memorized: 3}", ".memorized: 3 is not valid; valid: labels, c_score:PATH, c_score:sweep:NAME"),
        ("rewind: {c_score_below: 0.3}", "rewind.c_score_below: used only with memorized: c_score:PATH"),
        (
            'rewind: {memorized: "c_score:s.npy", c_score_below: 0}',
            "c_score_below: 0 is not valid; valid: a number > 0 and <= 1",
        ),
        (
            'rewind: {memorized: "c_score:bad.npy"}',
            ":5:blocks.a.stages.rewind.memorized: {folder}/bad.npy:scores: shape (3,); must be",
        ),
        ('evaluate: {memorized: "c_score:s.npy"}', "evaluate.memorized: unknown field"),
    ],
)
def test_errors_at_their_place(tmp_path: Path, stage: str, problem: str) -> None:
    np.save(tmp_path / "bad.npy", np.zeros(3))
    text = TEXT.split("blocks:")[0] + f"blocks:\n  a:\n    stages:\n      {stage}\n"
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, text.lstrip())
    (line,) = caught.value.problems
    assert problem.replace("{folder}", str(tmp_path)) in line


def test_no_label_noise_beside_atypical_examples(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, TEXT, "noise=0.1")
    assert len(caught.value.problems) == 4
    assert caught.value.problems[0].endswith(
        "gradients.memorized: C-scores on a training with noise: 0.1; valid: noise: 0, or memorized: labels"
    )


# --- the commands -----------------------------------------------------------------------------------------------------


def test_dry_run_lists_it_and_a_run_fails_it_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my.yaml").write_text(TEXT)
    where = (str(tmp_path / "my.yaml"), "--store", str(tmp_path / "store"), "--data-dir", str(tmp_path / "data"))
    code, out, err = run(capfd, monkeypatch, "sweep", *where, "--dry-run")
    assert (code, err) == (0, "")
    needed = f"needs: {tmp_path}/scores.npy"
    assert f"block atypical (gradients, rewind, retrain, flips) {needed}; put the file of C-scores there" in out
    code, out, _ = run(capfd, monkeypatch, "sweep", *where, "--dry-run", "--json")
    (trial,) = json.loads(out)["trials"]
    assert {n["stage"] for n in trial["needs"]} == {"gradients", "rewind", "retrain", "flips"}
    assert {(n["block"], n["needs"]) for n in trial["needs"]} == {("atypical", str(tmp_path / "scores.npy"))}

    code, out, err = run(capfd, monkeypatch, "sweep", *where, "--executor", "inline")
    assert code == 1
    assert needed in err
    assert "nothing to do" not in out
    assert open_store(str(tmp_path / "store")).table("rewind").num_rows == 2 * 9  # of the other block
    code, out, err = run(capfd, monkeypatch, "sweep", *where, "--executor", "inline", "--json")
    found = json.loads(out)
    assert (code, found["counts"]["pending"], len(found["needs"])) == (1, 1, 4)
    waits = "block atypical: gradients of 1 trial waits for C-scores; the sweep's --dry-run says what it needs"
    assert waits in run(capfd, monkeypatch, "status", "my", *where[1:3])[1]
    assert needed in err
    code, out, _ = run(capfd, monkeypatch, "sweep", *where, "--dry-run", "--json")
    assert json.loads(out)["trials"][0]["done"] is False

    np.save(tmp_path / "scores.npy", scores())
    code, out, err = run(capfd, monkeypatch, "sweep", *where, "--executor", "inline")
    assert (code, "needs" in err) == (0, False)
    status = json.loads(run(capfd, monkeypatch, "status", "--json", *where[1:3])[1])  # of both records
    assert (status["counts"]["done"], status["waiting"]) == (1, [])
    assert open_store(str(tmp_path / "store")).table("flips").num_rows == 43


def test_scores_of_other_labels_are_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    y = load("digits").y_train
    np.savez(tmp_path / "scores.npy", scores=scores(), labels=np.roll(y, 1))
    shutil.move(tmp_path / "scores.npy.npz", tmp_path / "scores.npy")  # told by its content, not by its name
    (tmp_path / "my.yaml").write_text(TEXT)
    where = (str(tmp_path / "my.yaml"), "--store", str(tmp_path / "store"), "--data-dir", str(tmp_path / "data"))
    code, _, err = run(capfd, monkeypatch, "sweep", *where, "--executor", "inline")
    assert code == 2
    assert f"{tmp_path}/scores.npy:labels: {y[-1]} for example 0, but the data set has {y[0]}" in err


SUBSET = {"subset": 100, "noise": 0.1, "data_seed": 1}


@pytest.mark.parametrize(
    ("scored", "training", "same"),
    [
        ({}, {}, True),
        ({}, {"subset": 100}, True),  # scores of all examples judge some of them too
        ({"subset": 100}, {}, False),
        ({"subset": 100}, {"subset": 100}, True),
        ({"subset": 100}, {"subset": 100, "data_seed": 1}, False),  # another draw of the subset
        ({"subset": 50}, {"subset": 100}, False),
        (SUBSET, SUBSET, True),
        (SUBSET, {**SUBSET, "noise": 0.2}, False),
        ({"noise": 0.1}, {**SUBSET, "data_seed": 0}, False),  # other examples are mislabeled
        ({"noise": 0.1}, {"noise": 0.1, "data_seed": 1}, False),
        ({"noise": 0.1}, {"noise": 0.1, "wrong": "offset"}, False),
    ],
)
def test_whose_labels_scores_judge(scored: dict[str, Any], training: dict[str, Any], same: bool) -> None:
    base = {"dataset": "digits", "model": "resnet9"}
    assert same_labels(canonical(resolved(**base, **scored)), resolved(**base, **training)) == same
