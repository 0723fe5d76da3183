"""A set of examples that is empty is said before anything runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memloc import sweep
from memloc.data import load
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY

SWEEP = """
defaults: {{dataset: "{dataset}", model: resnet9, width: 0.05, epochs: 2, batch_size: 4, {training}}}
blocks:
  one: {{axes: {{seed: [0, 1]}}, stages: {{{stages}}}}}
"""


def plan(folder: Path, training: str, stages: str = "evaluate: {}", dataset: str = "npz:few.npz") -> Plan:
    x, y = np.zeros((4, 16, 16), np.uint8), np.arange(4) % 2
    np.savez(folder / "few.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    path = folder / "few.yaml"
    path.write_text(SWEEP.format(training=training, stages=stages, dataset=dataset))
    loaded = sweep.load(path, REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ("noise: 0.1", "noise 0.1 of 4 examples rounds to 0 wrong labels: there are no mislabeled examples"),
        (
            "noise: 0.24, noise_count: floor",
            "noise 0.24 of 4 examples rounds down to 0 wrong labels: there are no mislabeled",
        ),
        ("noise: 0.9", "noise 0.9 of 4 examples rounds to 4 wrong labels: there are no clean examples"),
        ("noise: 1.0", "noise 1.0 of 4 examples rounds to 4 wrong labels: there are no clean examples"),
        ("noise: 0.1, subset: 2", "noise 0.1 of 2 examples rounds to 0 wrong labels: there are no mislabeled examples"),
    ],
)
def test_noise_that_leaves_one_set_empty(tmp_path: Path, training: str, line: str) -> None:
    (note,) = plan(tmp_path, training).notes  # once for both seeds
    assert note.startswith(line)


@pytest.mark.parametrize("training", ["noise: 0.0", "noise: 0.25", "noise: 0.8"])
def test_noise_that_leaves_some_of_both(tmp_path: Path, training: str) -> None:
    assert plan(tmp_path, training).notes == ()


def test_noise_that_the_cut_holds_out(tmp_path: Path) -> None:
    """One wrong label of four examples, of which two are seen: in some cuts it is not among them."""
    heard = [plan(tmp_path, f"noise: 0.25, ratio: 0.5, cut: {cut}").notes for cut in range(6)]
    line = "noise 0.25 of 4 examples, of which a training sees 2: there are no mislabeled examples among these"
    assert set(heard) == {(), (line,)}


@pytest.mark.parametrize(
    ("below", "said"),
    [
        (0.2, "no example has a C-score below 0.2 ({path}): the set of memorized examples is empty"),
        (0.9, "all 1437 examples have a C-score below 0.9 ({path}): the set of other examples is empty"),
        (0.5, None),
    ],
)
def test_a_threshold_that_tells_nothing_apart(tmp_path: Path, below: float, said: str | None) -> None:
    scores = np.where(np.arange(len(load("digits").y_train)) % 3, 0.3, 0.7)
    np.save(tmp_path / "c.npy", scores)
    stages = f"rewind: {{memorized: 'c_score:c.npy', c_score_below: {below}}}"
    notes = plan(tmp_path, "noise: 0.0", stages, "digits").notes
    path = tmp_path / "c.npy"
    assert notes == ((f"rewind: {said.format(path=path)}",) if said else ())
