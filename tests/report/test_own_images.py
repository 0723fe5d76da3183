"""The explorer on images of one's own: names of classes, files, and labels whose true ones nobody knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memloc.analysis.observations import Observations
from memloc.data import load
from memloc.report.explorer import Explorer, explorer
from memloc.store import Store
from tests.conftest import run_inline
from tests.data.pictures import classes
from tests.report.test_explorer import reader_of

SWEEP = """
defaults: {dataset: "SOURCE", model: resnet9, width: 0.0625, epochs: 1, batch_size: 10MORE}
blocks: {a: {stages: {evaluate: {}}}}
"""


def explored(folder: Path, source: str, more: str = "") -> tuple[Explorer, list[str]]:
    load.cache_clear()
    store = folder / "store"
    run_inline(folder, SWEEP.replace("SOURCE", source).replace("MORE", more), Store(str(store)))
    problems: list[str] = []
    made = explorer(Observations(reader_of(store)), None, problems)
    assert made is not None
    json.loads(made.json)
    return made, problems


def test_names_and_files(tmp_path: Path) -> None:
    classes(tmp_path / "pets", n=10)
    made, problems = explored(tmp_path, "folder:pets", ", image: [12, 12]")
    (one,) = made.data["sets"]
    assert problems == []
    assert one["classes"] == ["cat", "dog"]
    assert len(one["files"]) == 16
    assert all(file.split("/")[0] == one["classes"][label] for file, label in zip(one["files"], one["label"], strict=True))
    assert None not in one["tile"]  # the images are read as they were trained on, in another size


def test_without_the_images_names_and_files_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes(tmp_path / "pets", n=10)
    before, _ = explored(tmp_path, "folder:pets")
    (tmp_path / "pets").rename(tmp_path / "gone")
    load.cache_clear()
    problems: list[str] = []
    after = explorer(Observations(reader_of(tmp_path / "store")), None, problems)
    assert after is not None
    assert [one["files"] for one in after.data["sets"]] == [one["files"] for one in before.data["sets"]]
    assert after.data["sets"][0]["classes"] == ["cat", "dog"]
    assert problems[0].startswith("the explorer of examples has no images of pets: ")
    assert str(tmp_path / "pets") in problems[0]


def test_long_names_keep_their_end(tmp_path: Path) -> None:
    classes(tmp_path / "pets" / "train", n=10)
    (tmp_path / "pets/train/cat/deep").mkdir()
    long = "y" * 120 + ".png"
    (tmp_path / "pets/train/cat/0.png").rename(tmp_path / "pets/train/cat/deep" / long)
    made, _ = explored(tmp_path, "folder:pets", ", test: 0")
    assert [f for f in made.data["sets"][0]["files"] if f.startswith("…")] == ["…" + long[-79:]]


def test_true_labels_that_nobody_knows(tmp_path: Path) -> None:
    raw = load("digits")
    wrong = np.arange(100) % 9 == 0
    np.savez(tmp_path / "x.npz", x_train=raw.x_train[:100, 0], y_train=raw.y_train[:100], noisy=wrong)
    made, _ = explored(tmp_path, "npz:x.npz", ", test: 0")
    (one,) = made.data["sets"]
    assert [true is None for true in one["true"]] == wrong.tolist()
    rows = reader_of(tmp_path / "store").sql("SELECT noisy_acc, noisy_true_acc, test_acc FROM evaluation").to_pylist()
    assert [(r["noisy_acc"] is None, r["noisy_true_acc"], r["test_acc"]) for r in rows] == [(False, None, None)]
