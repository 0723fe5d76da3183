"""G1–G5 on gradients whose norms and cosines are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.papers.maini2023.simulated import Simulated


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"noisy": 1.0}, "holds"),
        ({"noisy": 0.55, "last": 1.9}, "holds"),
        ({"noisy": 1.0, "last": 2.5}, "does_not_hold"),  # the last layer stands out
        ({"noisy": 0.4}, "does_not_hold"),
    ],
)
def test_norms_alike_in_every_group(simulated: Simulated, given: dict[str, Any], verdict: str) -> None:
    simulated.gradients(simulated.training(), **given)
    found = simulated.judged()["G1.cifar10"]
    assert found.verdict == verdict
    assert found.paper == 1
    assert found.ours == pytest.approx(np.sqrt(given["noisy"] * given.get("last", given["noisy"])))


def test_intervals_are_over_trainings(simulated: Simulated) -> None:
    """Student's, by scipy, of the ratios of three seeds."""
    for seed, noisy in enumerate((0.8, 1.0, 1.3)):
        simulated.gradients(simulated.training(seed=seed), noisy=noisy)
    found = simulated.judged()["G1.cifar10"]
    expected = stats.t.interval(0.95, 2, np.mean([0.8, 1.0, 1.3]), stats.sem([0.8, 1.0, 1.3]))
    assert (found.lo, found.hi) == pytest.approx(expected)
    assert found.seeds == 3


def test_epochs_are_averaged_before_the_ratio(simulated: Simulated) -> None:
    """Of clean norms 1, 3 and noisy norms 3, 3 the ratio is 6/4, not the mean of 3 and 1."""
    rows = {
        "epoch": [0, 1],
        "layer": ["a"] * 2,
        "param": ["a"] * 2,
        "numel": [1] * 2,
        "sq_clean": [1, 9],
        "sq_noisy": [9, 9],
    }
    rest = {"dot": [0, 0], "sq_control": [1, 1], "dot_control": [0, 0]}
    config = {"epochs": [0, 1], "bn": "batch", "at": "trajectory"}
    simulated.analysis(simulated.training(), "gradients", config, gradients={**rows, **rest})
    assert simulated.judged()["G1.cifar10"].ours == pytest.approx(1.5)


@pytest.mark.parametrize(("cosine", "verdict"), [(-0.8, "holds"), (-0.7, "does_not_hold"), (0.3, "does_not_hold")])
def test_opposed_gradients(simulated: Simulated, cosine: float, verdict: str) -> None:
    simulated.gradients(simulated.training(), cosine=cosine)
    found = simulated.judged()["G2"]
    assert (found.verdict, found.paper) == (verdict, -0.75)
    assert found.ours == pytest.approx(cosine)


@pytest.mark.parametrize(("last", "verdict"), [(-0.8, "holds"), (-0.7, "does_not_hold")])
def test_opposed_in_every_group(simulated: Simulated, last: float, verdict: str) -> None:
    """A mean over groups of −0.83 would do; one group at −0.7 does not."""
    simulated.gradients(simulated.training(), cosine=-0.95, last_cosine=last)
    found = simulated.judged()["G2"]
    assert (found.verdict, found.ours) == (verdict, pytest.approx(last))


@pytest.mark.parametrize(("epochs", "verdict"), [(11, "holds"), (10, "does_not_hold")])
def test_opposed_in_most_epochs(simulated: Simulated, epochs: int, verdict: str) -> None:
    """Of the 21 epochs of the window; two trainings, whose shares are averaged."""
    for seed in (0, 1):
        simulated.gradients(simulated.training(seed=seed), cosine=lambda e: -0.9 if 10 <= e < 10 + epochs else 0.0)
    assert simulated.judged()["G2"].verdict == verdict


def test_opposed_in_the_window_is_what_counts(simulated: Simulated) -> None:
    """In the paper's setting epochs 10 to 30; elsewhere those in which noisy accuracy climbs, here 5 to 8."""
    climbing = [0.0] * 4 + [0.25, 0.4, 0.6, 0.85] + [1.0] * 12
    for dataset, window, fields in (
        ("cifar10", range(10, 31), {}),
        ("digits", range(5, 9), {"epochs": 20, "noisy_acc": climbing}),
    ):
        trial = simulated.training(dataset=dataset, **fields)
        epochs = range(51 if dataset == "cifar10" else 21)
        simulated.gradients(trial, cosine=lambda e, at=window: -0.9 if e in at else 0.5, epochs=epochs)
    found = simulated.judged()
    assert found["G2"].verdict == found["G2.digits"].verdict == "holds"
    assert "epochs 10 to 30 (21 stored)" in found["G2"].reason
    assert "epochs 5 to 8 (4 stored)" in found["G2.digits"].reason
    assert found["G2.digits"].paper is None


def test_without_gradients_in_the_window_nothing_is_said(simulated: Simulated) -> None:
    simulated.gradients(simulated.training(), epochs=[0, 50])
    found = simulated.judged()["G2"]
    assert (found.verdict, found.ours) == ("not_testable", None)
    assert found.reason.startswith("no gradients in epochs 10 to 30")


def test_ratios_by_noise_rate(simulated: Simulated) -> None:
    """G3 is of all rates, and needs no memorization."""
    rates = (0.01, 0.1, 0.5, 0.99)
    for rate, ratio in zip(rates, (0.9, 1.0, 2.0, 9.0), strict=True):
        simulated.gradients(simulated.training(noise=rate, evaluated=0.3), noisy=ratio)
    found = simulated.judged()
    assert [found[f"G3.{part}"].verdict for part in ("noise0.01", "noise0.99", "trend")] == ["holds"] * 3
    assert [found[f"G3.{part}"].ours for part in ("noise0.01", "noise0.99", "trend")] == pytest.approx([0.9, 9.0, 1.0])
    assert "p = 0.042" in found["G3.trend"].reason  # the one of 4! orders
    assert found["G1.cifar10"].verdict == "not_testable"
    assert "G1.cifar10.noise0.5" not in found


def test_a_trend_of_three_rates_may_be_chance(simulated: Simulated) -> None:
    """One of 3! orders: p = 1/6, however perfect the trend is."""
    for rate, ratio in zip((0.01, 0.1, 0.5), (0.9, 1.0, 2.0), strict=True):
        simulated.gradients(simulated.training(noise=rate), noisy=ratio)
    found = simulated.judged()["G3.trend"]
    assert (found.verdict, found.ours) == ("does_not_hold", pytest.approx(1.0))
    assert "p = 0.17" in found.reason


def test_ratios_that_do_not_grow_with_noise(simulated: Simulated) -> None:
    for rate, ratio in zip((0.01, 0.1, 0.5, 0.99), (1.2, 0.7, 1.5, 1.1), strict=True):
        simulated.gradients(simulated.training(noise=rate), noisy=ratio)
    found = simulated.judged()
    assert [found[f"G3.{part}"].verdict for part in ("noise0.01", "noise0.99", "trend")] == ["does_not_hold"] * 3


@pytest.mark.parametrize(("cosine", "verdict"), [(-0.9, "holds"), (-0.2, "does_not_hold")])
def test_the_sum_is_below_both(simulated: Simulated, cosine: float, verdict: str) -> None:
    simulated.gradients(simulated.training(), noisy=1.0, cosine=cosine)
    found = simulated.judged()["G4"]
    assert found.verdict == verdict
    assert found.ours == pytest.approx(np.sqrt(2 + 2 * cosine))


def test_the_sum_is_below_both_in_every_group(simulated: Simulated) -> None:
    """On average over the groups it is, √0.2 and √1.6."""
    simulated.gradients(simulated.training(), cosine=-0.9, last_cosine=-0.2)
    found = simulated.judged()["G4"]
    assert (found.verdict, found.ours) == ("does_not_hold", pytest.approx(np.sqrt(1.6)))


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.0, "holds"), (0.36, "holds"), (0.34, "does_not_hold"), (3.5, "holds"), (3.6, "does_not_hold")],
)
def test_per_example_an_order_of_magnitude(simulated: Simulated, ratio: float, verdict: str) -> None:
    """Ten mislabeled of a hundred: n_c / n_n = 9."""
    simulated.gradients(simulated.training(), noisy=ratio)
    found = simulated.judged()["G5"]
    assert found.verdict == verdict
    assert found.ours == pytest.approx(9 * ratio)


def test_a_training_that_diverged_counts_nowhere(simulated: Simulated) -> None:
    simulated.gradients(simulated.training(seed=0), noisy=1.2)
    simulated.gradients(simulated.training(seed=1), noisy=float("nan"))
    found = simulated.judged()["G1.cifar10"]
    assert (found.seeds, found.ours) == (1, pytest.approx(1.2))


def test_gradients_that_measure_something_else_are_not_pooled(simulated: Simulated) -> None:
    """Of one training: running statistics are a setting of their own, checkpoints stand beside, C-scores say nothing."""
    trial = simulated.training()
    simulated.gradients(trial, noisy=1.0)
    simulated.gradients(trial, noisy=5.0, bn="running")
    simulated.gradients(trial, noisy=7.0, at=None)
    simulated.gradients(trial, noisy=6.0, at=None, bn="running")
    simulated.gradients(trial, noisy=7.0, memorized="c_score:scores.npz")
    found = {k: v for k, v in simulated.judged().items() if k.startswith("G1.cifar10") and v.verdict != "not_run"}
    assert {k: v.ours for k, v in found.items()} == {
        "G1.cifar10": pytest.approx(1.0),
        "G1.cifar10.bnrunning": pytest.approx(5.0),
        "G1.cifar10.checkpoint": pytest.approx(7.0),
        "G1.cifar10.bnrunning.checkpoint": pytest.approx(6.0),
    }


def test_checkpoints_stand_beside_every_claim_and_are_never_missing(simulated: Simulated) -> None:
    for seed, noise in enumerate((0.01, 0.1, 0.5, 0.99)):
        simulated.gradients(simulated.training(seed=seed, noise=noise), noisy=noise, at=None)
    found = simulated.judged()
    for claim in ("G2", "G4", "G5", "G3.noise0.01", "G3.noise0.99", "G3.trend"):
        assert found[claim].verdict == "not_run"
        assert found[f"{claim}.checkpoint"].verdict in ("holds", "does_not_hold")
    assert found["G3.noise0.99.checkpoint"].ours == pytest.approx(0.99)
    assert {j.verdict for j in found.values() if j.id.endswith(".checkpoint")} <= {"holds", "does_not_hold", "not_testable"}
