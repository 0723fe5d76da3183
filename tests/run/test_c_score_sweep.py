"""From one sweep to another: C-scores of held-out trainings, and the analyses that take them, by both executors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc.api import open_store
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.store import Commit, Store, c_scores
from memloc.sweep import load
from tests.run.programs import assert_same, memloc

SCORES = """
about: Held-out trainings of digits, with right labels and with wrong ones.
defaults: {dataset: digits, model: resnet9, width: 0.0625, epochs: 1, batch_size: 128}
blocks:
  right: {stages: {held_out: {ratios: [0.4, 0.6], min_held_out: 1}}}
  wrong: {set: {noise: 0.1}, stages: {held_out: {ratios: [0.5], min_held_out: 1}}}
"""
TAKING = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, epochs: 2, batch_size: 128}
blocks:
  atypical:
    stages:
      rewind: {epochs: [0, 2], memorized: "c_score:sweep:scores"}
      evaluate: {}
  atypical_part:
    set: {subset: 200}
    stages: {retrain: {epochs: 1, memorized: "c_score:sweep:scores", c_score_below: 0.9}}
  detection:
    set: {noise: 0.1}
    stages: {detection: {scores: [c_score, loss], c_score: "sweep:scores"}}
  elsewhere:
    set: {noise: 0.1, data_seed: 5}
    stages: {detection: {c_score: "sweep:scores"}}
"""


def sweep(home: Path, name: str, *arguments: str) -> Any:
    return memloc(home, "sweep", str(home / f"{name}.yaml"), "--store", str(home / "store"), *arguments)


def needs(home: Path) -> dict[str, str]:
    """{block: what it needs} by a dry run."""
    done = sweep(home, "taking", "--dry-run", "--json")
    assert done.code == 0, done.err
    return {need["block"]: need["needs"] for trial in json.loads(done.out)["trials"] for need in trial["needs"]}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sweeps run by the inline executor, with what a user sees on the way."""
    home = tmp_path_factory.mktemp("scores")
    (home / "scores.yaml").write_text(SCORES)
    (home / "taking.yaml").write_text(TAKING)
    # ⌈1437/862⌉ + ⌈1437/575⌉ = 2 + 3 trainings with the right labels, ⌈1437/719⌉ = 2 with wrong ones.
    nothing_else = "sweep scores (has no held-out trainings on digits with noise: 0.1, data_seed: 5)"
    assert needs(home) == {
        "atypical": "sweep scores (5 trainings, 0 done)",
        "atypical_part": "sweep scores (5 trainings, 0 done)",
        "detection": "sweep scores (2 trainings, 0 done)",
        "elsewhere": nothing_else,
    }
    part = sweep(home, "scores", "--executor", "inline", "--max-trials", "3")
    assert part.code == 0, part.err
    assert needs(home)["atypical"] == "sweep scores (5 trainings, 3 done)"
    early = sweep(home, "taking", "--executor", "inline")
    assert early.code == 1
    assert "block atypical (rewind) needs: sweep scores (5 trainings, 3 done); run `" in early.err
    assert f"memloc sweep scores --store {home}/store` first" in early.err
    assert sweep(home, "scores", "--executor", "inline").code == 0
    assert needs(home) == {"elsewhere": nothing_else}
    last = sweep(home, "taking", "--executor", "inline")
    assert last.code == 1
    assert "elsewhere" in last.err
    return home


def test_what_is_low_by_the_scores_of_the_store(home: Path) -> None:
    opened = open_store(str(home / "store"))
    scores = opened.pandas("c_scores")
    right = scores[scores["noise"] == 0].set_index("example")["c_score"]
    assert len(right) == 1437
    low = set(right.index[right < 0.5])
    predictions = opened.sql(
        "SELECT example, correct FROM predictions JOIN trials USING (trial) WHERE n_train = 1437"
    ).set_index("example")["correct"]  # fmt: skip
    final = opened.sql("SELECT * FROM rewind WHERE epoch = 2")
    assert final["noisy_acc"].tolist() == [float(predictions[predictions.index.isin(low)].mean())] * 9
    assert final["clean_acc"].tolist() == pytest.approx([float(predictions[~predictions.index.isin(low)].mean())] * 9)
    assert opened.pandas("retrain")["noisy_acc"].notna().all()


def test_the_sets_of_a_sweep_are_made_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many trainings take scores of it: to make them, every commit of the store is looked at."""
    made, real = list[int](), c_scores.score_sets

    def count(commits: Sequence[Commit], *on_odd: Any) -> Any:
        made.append(len(commits))
        return real(commits, *on_odd)

    monkeypatch.setattr(c_scores, "score_sets", count)
    taking = tmp_path / "taking.yaml"
    taking.write_text(TAKING.replace("atypical:", "atypical:\n    axes: {seed: [0, 1, 2]}", 1))
    loaded = load(taking, REGISTRY)
    plan = build_plan(loaded, loaded.entries, tmp_path, Store(str(home / "store")))
    assert len([a for trial in plan.trials for a in trial.analyses if a.c_scores is not None]) == 3 + 1 + 1
    assert len(made) == 1


def test_detection_takes_the_scores_that_judge_its_labels(home: Path) -> None:
    opened = open_store(str(home / "store"))
    joined = opened.sql(
        "SELECT e.noisy, c.c_score FROM examples e JOIN trials t USING (trial) JOIN c_scores c USING (example) "
        "WHERE t.n_train = 1437 AND t.noise = 0.1 AND t.data_seed = 0 AND c.noise = 0.1"
    )
    assert len(joined) == 1437
    noisy, score = joined["noisy"].to_numpy(), -joined["c_score"].to_numpy()
    pairs = score[noisy][:, None] - score[~noisy][None]
    row = opened.sql("SELECT * FROM detection WHERE score = 'c_score'")
    assert row["auc"].tolist() == pytest.approx([(pairs > 0).mean() + (pairs == 0).mean() / 2])


def test_the_same_scores_from_a_file_are_the_same_analysis(home: Path) -> None:
    opened = open_store(str(home / "store"))
    np.save(home / "same.npy", opened.sql("SELECT c_score FROM c_scores WHERE noise = 0 ORDER BY example")["c_score"])
    (home / "file.yaml").write_text(TAKING.split("  atypical_part:")[0].replace("sweep:scores", "same.npy"))
    done = sweep(home, "file", "--dry-run", "--json")
    (trial,) = json.loads(done.out)["trials"]
    assert (trial["done"], trial["needs"]) == (True, [])


@pytest.mark.slow  # 40 s; test_ray.py asserts it of the other stages in every run
def test_ray_writes_the_same_bytes(home: Path, tmp_path: Path) -> None:
    for name in ("scores", "taking"):
        (tmp_path / f"{name}.yaml").write_bytes((home / f"{name}.yaml").read_bytes())
        assert sweep(tmp_path, name, "--cpus", "2").code == (1 if name == "taking" else 0)
    assert_same(home / "store", tmp_path / "store")


def test_the_number_of_trainings_is_stated(home: Path) -> None:
    done = sweep(home, "scores", "--dry-run", "held_out.min_held_out=3", "--store", str(home / "none"))
    assert done.code == 0, done.err
    assert "20 trials, 0 done; to do: 20 trainings, 20 parts" in done.out  # ⌈3·1437/862⌉ + ⌈3·1437/575⌉ + ⌈3·1437/719⌉
