"""G1–G5 on gradients whose norms and cosines are given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memloc.papers.judgement import Judgement
from tests.papers.maini2023.simulated import Simulated

FOR, AGAINST = ("inconclusive", "for"), ("inconclusive", "against")
HOLDS, NOT = ("holds", None), ("does_not_hold", None)
SPLIT = ("inconclusive", None)


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, "Gradients")


def said(found: Judgement) -> tuple[str, str | None]:
    return found.verdict, found.leans


def trained(simulated: Simulated, fields: dict[str, Any] | None = None, **values: Sequence[Any]) -> None:
    """A training for each seed, and its gradients with the value that is its turn."""
    for seed, given in enumerate(zip(*values.values(), strict=True)):
        trial = simulated.training(seed=seed, **(fields or {}))
        simulated.gradients(trial, **dict(zip(values, given, strict=True)))


def student(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    lo, hi = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
    return float(lo), float(hi)


def on_logs(values: Sequence[float]) -> tuple[float, float]:
    lo, hi = np.exp(student(np.log(values).tolist()))
    return float(lo), float(hi)


def spread(middle: float, d: float) -> list[float]:
    """Three values with this geometric mean, whose logarithms have the standard deviation d."""
    return [middle * np.exp(-d), middle, middle * np.exp(d)]


# --- G1 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noisy", "last", "expected"),
    [
        (spread(1, 0.01), spread(1.9, 0.01), HOLDS),
        (spread(1, 0.01), spread(2.1, 0.01), NOT),  # the last layer stands out
        (spread(0.53, 0.01), spread(1, 0.01), HOLDS),
        (spread(0.47, 0.01), spread(1, 0.01), NOT),
        (spread(1, 0.01), spread(1.5, 0.25), FOR),  # up to 1.93; the interval ends beyond 2
        (spread(1, 0.01), spread(2.6, 0.25), AGAINST),  # from 2.02 on; the interval begins below 2
        (spread(1, 0.01), spread(2, 0.1), SPLIT),
        # t·s/√3 = 2.92·0.15/√3 = 0.25 at 90 %, 6.2·0.15/√3 = 0.54 at 1 − 0.05/2; log(3/2) = 0.41 lies between.
        (spread(1, 0.01), spread(3, 0.15), AGAINST),
        (spread(1, 0.01), spread(3, 0.1), NOT),
    ],
)
def test_norms_alike_in_every_group(
    simulated: Simulated, noisy: list[float], last: list[float], expected: tuple[str, str | None]
) -> None:
    """The group that is shown is the one that is farthest out, with Student's interval of logarithms, by scipy."""
    trained(simulated, noisy=noisy, last=last)
    found = simulated.judged()["G1.cifar10"]
    name, values = ("conv", noisy) if noisy[1] < 0.6 else ("linear", last)
    assert said(found) == expected
    assert (found.paper, found.seeds) == (1, 3)
    assert (found.ours, found.lo, found.hi) == pytest.approx((values[1], *on_logs(values)))
    assert f"noisy / clean norm of {name}, " in found.reason
    assert ("with 2 groups the interval at 97.5 % counts" in found.reason) == (expected == NOT)
    assert "interval over 3 trainings" in found.reason


@pytest.mark.parametrize(("noisy", "expected"), [(1.9, FOR), (2.1, AGAINST), (0.51, FOR), (0.49, AGAINST)])
def test_one_training_says_nothing_of_networks(simulated: Simulated, noisy: float, expected: tuple[str, str | None]) -> None:
    trained(simulated, noisy=[noisy])
    found = simulated.judged()["G1.cifar10"]
    assert said(found) == expected
    assert (found.ours, found.lo, found.hi) == (pytest.approx(noisy), None, None)
    assert found.reason.endswith("one training, no interval")


def test_the_groups_of_two_trainings_share_their_spread(simulated: Simulated) -> None:
    """Two degrees of freedom for a pooled variance of logarithms, instead of one for the group's own."""
    conv, linear = [0.9, 1.0], [1.2, 1.4]
    trained(simulated, noisy=conv, last=linear)
    found = simulated.judged()["G1.cifar10"]
    s2 = (np.var(np.log(conv), ddof=1) + np.var(np.log(linear), ddof=1)) / 2
    half = stats.t.ppf(0.975, 2) * np.sqrt(s2 / 2)
    middle = np.log(linear).mean()
    assert (found.ours, found.lo, found.hi) == pytest.approx(tuple(np.exp([middle, middle - half, middle + half])))
    assert found.reason.endswith("the two trainings have 1.2 and 1.4")


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


def test_a_training_that_diverged_counts_nowhere(simulated: Simulated) -> None:
    trained(simulated, noisy=[1.2, float("nan")])
    found = simulated.judged()["G1.cifar10"]
    assert (found.seeds, found.ours) == (1, pytest.approx(1.2))


def test_a_group_without_noisy_gradient(simulated: Simulated) -> None:
    """Its ratio is 0, which has no logarithm, and no interval; every training is out of the region."""
    trained(simulated, noisy=[1.0, 1.0], last=[0.0, 0.0])
    found = simulated.judged()
    assert (said(found["G1.cifar10"]), found["G1.cifar10"].ours, found["G1.cifar10"].lo) == (AGAINST, 0.0, None)
    assert found["G5"].ours == 0.0


# --- G2 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ([-0.77, -0.76, -0.765], HOLDS),
        ([-0.73, -0.74, -0.735], NOT),
        ([-0.75, -0.75, -0.75], NOT),  # it must be below
        ([-0.76, -0.8, -0.95], FOR),
        ([-0.74, -0.7, -0.5], AGAINST),
        ([-0.74, -0.8, -0.76], SPLIT),
    ],
)
def test_opposed_gradients(simulated: Simulated, cosines: list[float], expected: tuple[str, str | None]) -> None:
    trained(simulated, cosine=cosines)
    found = simulated.judged()["G2"]
    assert (said(found), found.paper) == (expected, -0.75)
    lo, hi = student(cosines) if np.ptp(cosines) else (-0.75, -0.75)
    assert (found.ours, found.lo, found.hi) == pytest.approx((np.mean(cosines), max(lo, -1), hi))


@pytest.mark.parametrize(("last", "expected"), [(-0.8, HOLDS), (-0.7, NOT)])
def test_opposed_in_every_group(simulated: Simulated, last: float, expected: tuple[str, str | None]) -> None:
    """A mean over groups of −0.83 would do; one group at −0.7 does not."""
    trained(simulated, cosine=[-0.95, -0.95], last_cosine=[last, last])
    found = simulated.judged()["G2"]
    assert (said(found), found.ours) == (expected, pytest.approx(last))


@pytest.mark.parametrize(("epochs", "median"), [(11, -0.9), (10, 0.0)])
def test_the_median_over_the_window(simulated: Simulated, epochs: int, median: float) -> None:
    """Of the 21 epochs 10 to 30."""
    trained(simulated, cosine=[lambda e: -0.9 if 10 <= e < 10 + epochs else 0.0] * 2)
    found = simulated.judged()["G2"]
    assert (said(found), found.ours) == (HOLDS if median < -0.75 else NOT, pytest.approx(median))


def test_opposed_in_the_window_is_what_counts(simulated: Simulated) -> None:
    """In the paper's setting epochs 10 to 30; elsewhere those in which noisy accuracy climbs, here 5 to 8."""
    climbing = [0.0] * 4 + [0.25, 0.4, 0.6, 0.85] + [1.0] * 12
    for dataset, window, fields in (
        ("cifar10", range(10, 31), {}),
        ("digits", range(5, 9), {"epochs": 20, "noisy_acc": climbing}),
    ):
        epochs = range(51 if dataset == "cifar10" else 21)
        cosine = [lambda e, at=window: -0.9 if e in at else 0.5] * 2
        trained(simulated, {"dataset": dataset, **fields}, cosine=cosine, epochs=[epochs] * 2)
    found = simulated.judged()
    assert found["G2"].verdict == found["G2.digits"].verdict == "holds"
    assert "epochs 10 to 30 (21 stored)" in found["G2"].reason
    assert "epochs 5 to 8 (4 stored)" in found["G2.digits"].reason
    assert found["G2.digits"].paper is None


@pytest.mark.parametrize(
    ("epochs", "says"),
    [
        ([0, 50], "no gradients in epochs 10 to 30"),
        ([9, 10, 30, 31], "gradients of only 2 epochs in epochs 10 to 30"),
    ],
)
def test_fewer_than_three_epochs_in_the_window(simulated: Simulated, epochs: list[int], says: str) -> None:
    trained(simulated, cosine=[-0.9, -0.9], epochs=[epochs, epochs])
    found = simulated.judged()["G2"]
    assert (found.verdict, found.ours) == ("not_testable", None)
    assert found.reason.startswith(says)
    assert "`gradients.epochs`" in found.reason


def test_three_epochs_in_the_window_are_enough(simulated: Simulated) -> None:
    """Of three seeds; another one has two such epochs, and is left out."""
    trained(simulated, cosine=[-0.9] * 3 + [0.5], epochs=[[10, 20, 30]] * 3 + [[10, 20, 31]])
    found = simulated.judged()["G2"]
    assert (said(found), found.seeds, found.ours) == (HOLDS, 3, pytest.approx(-0.9))


@pytest.mark.parametrize(
    ("control", "says"),
    [
        ([0.0, 0.1, 0.2], "above -0.75: this is about noise"),
        ([-0.7, -0.71, -0.72], "above -0.75: this is about noise"),
        ([-0.2, -0.5, -0.7], "so this may not be about noise"),  # on average above −0.75; the interval is not
        ([-0.8, -0.81, -0.82], "so this may not be about noise"),
        ([0.0], "one training does not show whether this is about noise"),
    ],
)
def test_where_random_sets_cancel_too_it_may_not_be_about_noise(
    simulated: Simulated, control: list[float], says: str
) -> None:
    trained(simulated, cosine=[-0.9] * len(control), control=control)
    reason = simulated.judged()["G2"].reason
    assert says in reason
    assert f"random sets as large have {np.mean(control):.2f}" in reason


# --- G3 -----------------------------------------------------------------------------------------------------------------


def curve(simulated: Simulated, ratios: dict[float, Sequence[float]], **fields: Any) -> dict[str, Judgement]:
    """{noise rate: the ratio in each seed}; G3 needs no memorization."""
    for rate, values in ratios.items():
        trained(simulated, {"noise": rate, "evaluated": 0.3, **fields}, noisy=values)
    return simulated.judged()


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        (spread(0.95, 0.01), HOLDS),
        (spread(1.05, 0.01), NOT),
        ([1.0, 1.0, 1.0], NOT),  # it must be below
        (spread(0.53, 0.01), HOLDS),
        (spread(0.47, 0.01), NOT),  # not slightly
        (spread(0.9, 0.08), FOR),
        (spread(1.1, 0.08), AGAINST),
    ],
)
def test_slightly_below_1_at_1_percent(simulated: Simulated, ratios: list[float], expected: tuple[str, str | None]) -> None:
    found = curve(simulated, {0.01: ratios})["G3.noise0.01"]
    assert said(found) == expected
    limits = on_logs(ratios) if np.ptp(ratios) else (1.0, 1.0)
    assert (found.ours, found.lo, found.hi) == pytest.approx((ratios[1], *limits))


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        (spread(1.5, 0.1), HOLDS),
        (spread(0.7, 0.1), NOT),
        ([1.0, 1.0, 1.0], NOT),
        (spread(1.2, 0.15), FOR),
        (spread(0.8, 0.15), AGAINST),
    ],
)
def test_largest_at_99_percent_in_each_seed(
    simulated: Simulated, factors: list[float], expected: tuple[str, str | None]
) -> None:
    """Paired with the next-largest rate, which is not the next one: seeds that differ sixfold hide no factor of 1.5."""
    half = [1.0, 2.5, 6.0]
    largest = [h * f for h, f in zip(half, factors, strict=True)]
    found = curve(simulated, {0.5: half, 0.9: [0.5, 0.5, 0.5], 0.99: largest})["G3.noise0.99"]
    assert said(found) == expected
    limits = on_logs(factors) if np.ptp(factors) else (1.0, 1.0)
    assert (found.ours, found.lo, found.hi) == pytest.approx((factors[1], *limits))
    assert "at 50%" in found.reason
    assert found.seeds == 6


def test_rates_without_seeds_in_common_are_not_paired(simulated: Simulated) -> None:
    simulated.gradients(simulated.training(noise=0.99, seed=0), noisy=9.0)
    simulated.gradients(simulated.training(noise=0.5, seed=1), noisy=1.0)
    found = simulated.judged()["G3.noise0.99"]
    assert (found.verdict, found.ours) == ("not_testable", None)
    assert "share their seeds" in found.reason


RATES = (0.01, 0.1, 0.5, 0.99)


@pytest.mark.parametrize(
    ("ratios", "expected", "rho"),
    [
        ((0.9, 1.0, 2.0, 9.0), HOLDS, 1.0),
        ((9.0, 2.0, 1.0, 0.9), NOT, -1.0),
        ((1.0, 0.7, 1.1, 1.05), FOR, 0.6),
    ],
)
def test_a_trend_with_noise(
    simulated: Simulated, ratios: tuple[float, ...], expected: tuple[str, str | None], rho: float
) -> None:
    """Two seeds with the same ratios; scipy's coefficient over the eight trainings."""
    found = curve(simulated, {rate: [ratio, ratio] for rate, ratio in zip(RATES, ratios, strict=True)})["G3.trend"]
    assert said(found) == expected
    by_scipy = stats.spearmanr(np.repeat(RATES, 2), np.repeat(ratios, 2)).statistic
    assert (found.ours, found.lo, found.hi) == (pytest.approx(by_scipy), None, None)
    assert f"by seed {rho:.3g} and {rho:.3g}" in found.reason


def test_a_trend_of_one_seed_is_of_one_seed(simulated: Simulated) -> None:
    found = curve(simulated, {rate: [ratio] for rate, ratio in zip(RATES, (0.9, 1.0, 2.0, 9.0), strict=True)})
    assert (said(found["G3.trend"]), found["G3.trend"].ours) == (FOR, pytest.approx(1.0))
    assert "p = 0.042" in found["G3.trend"].reason  # the one of 4! orders
    assert said(found["G3.noise0.01"]) == said(found["G3.noise0.99"]) == FOR
    assert found["G1.cifar10"].verdict == "not_testable"
    assert "G1.cifar10.noise0.5" not in found


def test_a_ratio_that_does_not_vary_was_run(simulated: Simulated) -> None:
    found = curve(simulated, dict.fromkeys((0.01, 0.1, 0.5), (0.9, 0.9)))["G3.trend"]
    assert (found.verdict, found.ours, found.seeds) == ("not_testable", None, 6)
    assert found.reason == "the ratio of norms is the same in all trainings: there is nothing to rank"


def test_rates_whose_trainings_diverged_were_run(simulated: Simulated) -> None:
    found = curve(simulated, {0.01: [np.nan], 0.1: [0.9], 0.99: [np.nan]})
    for part in ("noise0.01", "noise0.99", "trend"):
        one = found[f"G3.{part}"]
        assert (one.verdict, one.reason) == (
            "not_testable",
            "no training at 1% and 99% noise has finite norms: they diverged",
        )


def test_a_trend_of_three_rates_may_be_chance(simulated: Simulated) -> None:
    """One of 3! orders: p = 1/6, however perfect the trend is. Different seeds have no curve of their own to lean."""
    for seed, (rate, ratio) in enumerate(zip((0.01, 0.1, 0.5), (0.9, 1.0, 2.0), strict=True)):
        simulated.gradients(simulated.training(noise=rate, seed=seed), noisy=ratio)
    found = simulated.judged()["G3.trend"]
    assert (said(found), found.ours) == (SPLIT, pytest.approx(1.0))
    assert "p = 0.17" in found.reason


# --- G4, G5 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cosines", "last", "expected"),
    [
        ([-0.9] * 3, [-0.55, -0.54, -0.53], HOLDS),
        ([-0.9] * 3, [-0.47, -0.46, -0.45], NOT),  # on average over the groups the sum is smaller
        ([-0.9] * 3, [-0.52, -0.6, -0.75], FOR),
        ([-0.9] * 3, [-0.48, -0.4, -0.1], AGAINST),
    ],
)
def test_the_sum_is_below_both_in_every_group(
    simulated: Simulated, cosines: list[float], last: list[float], expected: tuple[str, str | None]
) -> None:
    """Of two unit vectors it is √(2 + 2·cosine): below 1 where the cosine is below −½."""
    trained(simulated, noisy=[1.0] * 3, cosine=cosines, last_cosine=last)
    found = simulated.judged()["G4"]
    sums = np.sqrt(2 + 2 * np.array(last)).tolist()
    assert said(found) == expected
    assert (found.ours, found.lo, found.hi) == pytest.approx((np.exp(np.log(sums).mean()), *on_logs(sums)))
    assert "of linear, the group that stands out most" in found.reason


def test_the_smaller_norm_is_what_the_sum_is_compared_with(simulated: Simulated) -> None:
    """Norms 1 and 2 at a cosine of −0.8: √(1 + 4 − 3.2) = 1.34 is below 2 alone."""
    trained(simulated, noisy=[2.0, 2.0], cosine=[-0.8, -0.8])
    found = simulated.judged()["G4"]
    assert (said(found), found.ours) == (NOT, pytest.approx(np.sqrt(1.8)))


@pytest.mark.parametrize(
    ("per_example", "expected"),
    [
        (spread(5.3, 0.01), HOLDS),
        (spread(4.7, 0.01), NOT),
        (spread(3.8, 0.01), NOT),
        (spread(19, 0.01), HOLDS),
        (spread(21, 0.01), NOT),
        (spread(8, 0.4), FOR),
        (spread(8, 0.22), HOLDS),  # from 5.5 on at 90 %, which decides; from 4.6 on at 95 %, which is printed
        (spread(30, 0.35), AGAINST),
    ],
)
def test_per_example_an_order_of_magnitude(
    simulated: Simulated, per_example: list[float], expected: tuple[str, str | None]
) -> None:
    """Ten mislabeled of a hundred: n_c / n_n = 9."""
    trained(simulated, noisy=[v / 9 for v in per_example])
    found = simulated.judged()["G5"]
    assert (said(found), found.paper) == (expected, 10)
    assert (found.ours, found.lo, found.hi) == pytest.approx((per_example[1], *on_logs(per_example)))


def test_per_example_is_the_geometric_mean_over_groups(simulated: Simulated) -> None:
    trained(simulated, noisy=[0.5], last=[2.0])
    assert simulated.judged()["G5"].ours == pytest.approx(9.0)


# --- what is measured ---------------------------------------------------------------------------------------------------


def test_gradients_that_measure_something_else_are_not_pooled(simulated: Simulated) -> None:
    """Of one training: running statistics are a setting of their own, checkpoints stand beside, C-scores say nothing."""
    trial = simulated.training()
    simulated.gradients(trial, noisy=1.0)
    simulated.gradients(trial, noisy=5.0, bn="running")
    simulated.gradients(trial, noisy=7.0, at=None)
    simulated.gradients(trial, noisy=6.0, at=None, bn="running")
    simulated.gradients(trial, noisy=7.0, memorized="c_score:scores.npz")
    found = {k: v for k, v in simulated.judged().of("G1").items() if k.startswith("G1.cifar10") and v.verdict != "not_run"}
    assert {k: v.ours for k, v in found.items()} == {
        "G1.cifar10": pytest.approx(1.0),
        "G1.cifar10.bnrunning": pytest.approx(5.0),
        "G1.cifar10.checkpoint": pytest.approx(7.0),
        "G1.cifar10.bnrunning.checkpoint": pytest.approx(6.0),
    }


def test_checkpoints_beside_a_number_are_of_its_setting(simulated: Simulated) -> None:
    """The nearest setting with checkpoints is another than the nearest one along the trajectory."""
    quarter, half, full = (simulated.training(dataset="digits", width=width) for width in (0.25, 0.5, 1.0))
    simulated.gradients(quarter, noisy=2.0)
    simulated.gradients(half, noisy=3.0)
    for trial, noisy in ((quarter, 4.0), (half, 5.0), (full, 6.0)):
        simulated.gradients(trial, noisy=noisy, at=None)
    there = {j.id: j for j in simulated.judged().values() if j.ours is not None}
    for claim, first in (("G1", "G1.digits"), ("G5", "G5")):
        found = {k: (j.setting.config["width"] if j.setting else None) for k, j in there.items() if j.claim_id == claim}
        assert {found[first], found[f"{first}.checkpoint"]} == {0.25}, claim
        assert {found[f"{claim}.digits.width0.5"], found[f"{claim}.digits.width0.5.checkpoint"]} == {0.5}
        assert sorted(found.values()) == [0.25, 0.25, 0.5, 0.5, 1.0]
    assert (there["G1.digits.checkpoint"].ours, there["G5.checkpoint"].ours) == pytest.approx((4.0, 36.0))


def test_checkpoints_stand_beside_every_claim_and_are_never_missing(simulated: Simulated) -> None:
    for seed in (0, 1):
        for noise in (0.01, 0.1, 0.5, 0.99):
            simulated.gradients(simulated.training(seed=seed, noise=noise), noisy=noise, at=None)
    found = simulated.judged()
    expected = {"G2": "holds", "G4": "does_not_hold", "G5": "does_not_hold"} | {
        "G3.noise0.01": "does_not_hold",
        "G3.noise0.99": "holds",
        "G3.trend": "holds",
    }
    for claim, verdict in expected.items():
        assert found[claim].verdict == "not_run"
        assert found[f"{claim}.checkpoint"].verdict == verdict
    assert found["G3.noise0.99.checkpoint"].ours == pytest.approx(0.99 / 0.5)
    assert not [j.id for j in found.values() if j.id.endswith(".checkpoint") and j.verdict == "not_run"]
