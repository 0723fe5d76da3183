"""L1, W1–W3, R1, R2 on accuracies that are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memloc.papers.maini2023.layers import drops
from tests.papers.maini2023.simulated import Simulated

GROUPS = {"conv1": 0.2, "conv2": 0.4, "conv3": 0.6, "conv4": 0.95, "linear": 0.99}


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


@pytest.mark.parametrize(("kept", "verdict"), [(6, "holds"), (5, "does_not_hold")])
def test_half_is_not_most(simulated: Simulated, kept: int, verdict: str) -> None:
    simulated.rewind(simulated.training(), {f"g{k}": 0.95 if k < kept else 0.1 for k in range(10)})
    assert simulated.judged()["L1.cifar10"].verdict == verdict


@pytest.mark.parametrize(("kept", "verdict"), [(3, "holds"), (2, "does_not_hold")])
def test_most_of_what_is_rewound_keeps_the_noisy(simulated: Simulated, kept: int, verdict: str) -> None:
    """Rewinding to epochs 0 and 10 counts, noisy accuracy reaching 20 % at epoch 15; that to 20 does not."""
    groups = {f"g{k}": 0.95 if k < kept else 0.1 for k in range(5)}
    simulated.rewind(simulated.training(), groups)
    found = simulated.judged()["L1.cifar10"]
    assert (found.verdict, found.ours) == (verdict, kept / 5)
    assert "before epoch 15" in found.reason


def test_only_epochs_before_memorization_count(simulated: Simulated) -> None:
    trial = simulated.training()
    rows = [(e, 0.95 if e < 15 else 0.0) for e in (0, 14, 15, 40)]
    columns = {"layer": ["a"] * 4, "epoch": [e for e, _ in rows], "clean_acc": [1.0] * 4, "noisy_acc": [a for _, a in rows]}
    simulated.analysis(trial, "rewind", {"epochs": [e for e, _ in rows], "buffers": "final"}, rewind=columns)
    assert simulated.judged()["L1.cifar10"].ours == 1.0


def test_nothing_rewound_early_enough(simulated: Simulated) -> None:
    simulated.rewind(simulated.training(), GROUPS, epochs=[30, 40])
    found = simulated.judged()
    assert found["L1.cifar10"].verdict == found["W1.cifar10"].verdict == "not_testable"
    assert "rewind.epochs" in found["W1.cifar10"].reason


@pytest.mark.parametrize(
    ("conv4", "linear", "verdict"), [(0.95, 0.99, "holds"), (0.5, 0.99, "does_not_hold"), (0.95, 0.1, "does_not_hold")]
)
def test_the_last_two_groups_leave_the_noisy(simulated: Simulated, conv4: float, linear: float, verdict: str) -> None:
    simulated.rewind(simulated.training(), {**GROUPS, "conv4": conv4, "linear": linear})
    found = simulated.judged()["W1.cifar10"]
    assert (found.verdict, found.ours) == (verdict, min(conv4, linear))


def test_critical_groups_alike(simulated: Simulated) -> None:
    """Spearman's coefficient by scipy; its p over all 5! pairings by enumeration is 1/120 where the orders are the same."""
    clean = {"conv1": 0.5, "conv2": 0.6, "conv3": 0.9, "conv4": 0.99, "linear": 1.0}
    simulated.rewind(simulated.training(), GROUPS, clean)
    found = simulated.judged()["W2.cifar10"]
    assert found.verdict == "holds"
    assert found.ours == pytest.approx(stats.spearmanr(list(GROUPS.values()), list(clean.values())).statistic)
    assert f"p = {1 / 120:.2g}" in found.reason


def test_critical_groups_unlike(simulated: Simulated) -> None:
    simulated.rewind(simulated.training(), GROUPS, dict(zip(GROUPS, reversed(GROUPS.values()), strict=True)))
    found = simulated.judged()["W2.cifar10"]
    assert (found.verdict, found.ours) == ("does_not_hold", pytest.approx(-1.0))


def test_what_rewinding_costs_by_a_loop() -> None:
    generator = np.random.default_rng(0)
    rows = [(t, g, e, generator.random()) for t in ("s", "t") for g in ("b", "a") for e in (0, 5, 9)]
    frame = pd.DataFrame(rows, columns=["trial", "layer", "epoch", "noisy_acc"])
    lost = drops(frame, {"s": 9, "t": 9}, "noisy_acc")
    assert list(lost.columns) == ["b", "a"]
    for trial in ("s", "t"):
        whole = max(a for t, _, e, a in rows if t == trial and e == 9)
        for group in ("a", "b"):
            left = [a for t, g, e, a in rows if (t, g) == (trial, group) and e < 9]
            assert lost.loc[trial, group] == pytest.approx(whole - sum(left) / 2)


@pytest.mark.parametrize(
    ("dataset", "critical", "verdict"),
    [
        ("cifar10", "layer3", "holds"),
        ("cifar10", "layer2", "does_not_hold"),
        ("cifar10", "layer4", "does_not_hold"),
        ("mnist", "layer4", "holds"),
        ("mnist", "layer2", "does_not_hold"),
        ("mnist", "layer3", "does_not_hold"),
    ],
)
def test_the_critical_group_of_resnet50(simulated: Simulated, dataset: str, critical: str, verdict: str) -> None:
    groups = {g: 0.3 if g == critical else 0.9 for g in ("stem", "layer1", "layer2", "layer3", "layer4", "fc")}
    simulated.rewind(simulated.training(model="resnet50", dataset=dataset), groups)
    simulated.rewind(simulated.training(dataset=dataset), {"layer3": 0.3, "layer1": 0.9})  # not of this model
    found = simulated.judged()
    assert found[f"W3.{dataset}.resnet50"].verdict == verdict
    assert found[f"W3.{dataset}.resnet50"].ours == float(verdict == "holds")
    assert found[f"W3.{'mnist' if dataset == 'cifar10' else 'cifar10'}.resnet50"].verdict == "not_run"
    assert sum(k.startswith("W3") for k in found) == 2


@pytest.mark.parametrize(("reaching", "verdict"), [(2, "holds"), (1, "does_not_hold")])
def test_most_groups_reach_the_noisy_again(simulated: Simulated, reaching: int, verdict: str) -> None:
    """The best epoch counts, and epoch 0, before training, does not."""
    reached = {f"g{k}": [1.0, 0.95 if k < reaching else 0.5, 0.2] for k in range(3)}
    simulated.retrain(simulated.training(), reached)
    found = simulated.judged()["R1.cifar10"]
    assert (found.verdict, found.ours) == (verdict, pytest.approx(reaching / 3))


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ([0, 0.8, 0.05], ("holds", "holds")),
        ([0, 0.6, 0.05], ("does_not_hold", "holds")),
        ([0, 0.8, 0.4], ("holds", "does_not_hold")),
    ],
)
def test_layer_5_of_mnist_forgets_again(simulated: Simulated, values: list[float], verdicts: tuple[str, str]) -> None:
    simulated.retrain(simulated.training(dataset="mnist"), {"res2.conv1": values, "conv1": [0, 0, 0]})
    found = simulated.judged()
    assert (found["R2.mnist.during"].verdict, found["R2.mnist.end"].verdict) == verdicts
    assert (found["R2.mnist.during"].ours, found["R2.mnist.end"].ours) == (max(values), values[-1])
    assert (found["R2.mnist.during"].paper, found["R2.mnist.end"].paper) == (0.7, 0.1)


@pytest.mark.parametrize(("last", "verdict"), [(0.95, "holds"), (0.94, "not_testable")])
def test_atypical_examples_that_are_not_memorized_say_nothing(simulated: Simulated, last: float, verdict: str) -> None:
    trial = simulated.training(noise=0.0, evaluated=None)
    by_score = {"memorized": "c_score:scores.npz", "c_score_below": 0.5}
    simulated.gradients(trial, noisy=1.3, **by_score)
    rows = [(g, e, last if e == 50 else left) for g, left in GROUPS.items() for e in (0, 50)]
    columns = {name: [r[i] for r in rows] for i, name in enumerate(("layer", "epoch", "noisy_acc"))}
    rewound = {"epochs": [0, 50], "buffers": "final", **by_score}
    simulated.analysis(trial, "rewind", rewound, rewind={**columns, "clean_acc": [1.0] * len(rows)})
    found = simulated.judged()["A1.cifar10.gradients"]
    assert found.verdict == verdict
    assert ("below 0.95" in found.reason) == (verdict == "not_testable")


@pytest.mark.parametrize(
    ("given", "verdicts"),
    [
        ({}, ("holds", "holds", "holds")),
        ({"noisy": 2.1}, ("does_not_hold", "holds", "holds")),
        ({"reversed": True}, ("holds", "does_not_hold", "holds")),
        ({"worst": 0.89}, ("holds", "holds", "does_not_hold")),  # most of the layers do not do
    ],
)
def test_atypical_examples(simulated: Simulated, given: dict[str, Any], verdicts: tuple[str, str, str]) -> None:
    """Analyses by C-score of trainings without label noise; that they memorized is known from rewinding."""
    trial, worst = simulated.training(noise=0.0, evaluated=None), given.get("worst", 0.9)
    by_score = {"memorized": "c_score:scores.npz", "c_score_below": 0.5}
    simulated.gradients(trial, noisy=given.get("noisy", 1.3), **by_score)
    clean = dict(zip(GROUPS, reversed(GROUPS.values()), strict=True)) if "reversed" in given else GROUPS
    simulated.rewind(trial, GROUPS, clean, **by_score)
    simulated.retrain(trial, {"a": [0, 0.95], "b": [0, 0.95], "c": [0, worst]}, **by_score)
    found = simulated.judged()
    parts = ("gradients", "rewind", "retrain")
    assert tuple(found[f"A1.cifar10.{part}"].verdict for part in parts) == verdicts
    ours = (given.get("noisy", 1.3), -1 if "reversed" in given else 1, 1 if worst == 0.9 else 2 / 3)
    assert tuple(found[f"A1.cifar10.{part}"].ours for part in parts) == pytest.approx(ours)
    assert found["A1.mnist.rewind"].verdict == "not_run"
    assert found["G1.cifar10"].verdict == found["W1.cifar10"].verdict == found["R1.cifar10"].verdict == "not_run"
