"""L1, W1–W3, R1, R2, A1 on accuracies that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memloc.papers.judgement import Judgement
from memloc.papers.maini2023.layers.rewinding import Rewound
from tests.papers.maini2023.simulated import Simulated

FOR, AGAINST = ("inconclusive", "for"), ("inconclusive", "against")
HOLDS, NOT = ("holds", None), ("does_not_hold", None)
GROUPS = {"conv1": 0.2, "conv2": 0.4, "conv3": 0.6, "conv4": 0.95, "linear": 0.99}
N, NOISY = 2000, 200  # at 90 %, Wilson's interval is 0.918 to 0.970 for 0.95, and 0.848 to 0.921 for 0.89


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def said(found: Judgement) -> tuple[str, str | None]:
    return found.verdict, found.leans


def rewound(simulated: Simulated, *left: Mapping[str, float], **fields: Any) -> None:
    """A training for each seed, and what is left of its noisy accuracy."""
    for seed, groups in enumerate(left):
        simulated.rewind(simulated.training(**{"seed": seed, "n": N, **fields}), groups)


def retrained(simulated: Simulated, *reached: Mapping[str, Sequence[float]], **fields: Any) -> None:
    for seed, groups in enumerate(reached):
        simulated.retrain(simulated.training(**{"seed": seed, "n": N, **fields}), groups)


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """By scipy, of whole numbers."""
    interval = stats.binomtest(round(share * n), n).proportion_ci(level, "wilson")
    return float(interval.low), float(interval.high)


def combined(values: Sequence[float], n: int, level: float = 0.95) -> tuple[float, float, float]:
    """The mean, with √(Wilson's² + (t·s/√k)²) on either side."""
    mean, k = float(np.mean(values)), len(values)
    half = stats.t.ppf((1 + level) / 2, k - 1) * np.std(values, ddof=1) / np.sqrt(k)
    lo, hi = wilson(mean, n, level)
    return mean, max(0.0, mean - float(np.hypot(mean - lo, half))), min(1.0, mean + float(np.hypot(hi - mean, half)))


# --- L1 -----------------------------------------------------------------------------------------------------------------


def groups_of(kept: int, between: int, lost: int, middle: float) -> dict[str, float]:
    """So many groups whose interval is above 0.9, around it, and below."""
    left = [0.95] * kept + [middle] * between + [0.1] * lost
    return {f"g{i}": value for i, value in enumerate(left)}


@pytest.mark.parametrize(
    ("groups", "share", "limits", "expected"),
    [
        (groups_of(6, 0, 4, 0.9), 0.6, (0.6, 0.6), HOLDS),
        (groups_of(5, 0, 5, 0.9), 0.5, (0.5, 0.5), NOT),  # half is not most
        (groups_of(6, 2, 2, 0.89), 0.6, (0.6, 0.8), HOLDS),
        (groups_of(2, 3, 5, 0.91), 0.5, (0.2, 0.5), NOT),
        (groups_of(5, 3, 2, 0.91), 0.8, (0.5, 0.8), FOR),
        (groups_of(4, 3, 3, 0.89), 0.4, (0.4, 0.7), AGAINST),
    ],
)
def test_most_of_what_is_rewound_keeps_the_noisy(
    simulated: Simulated,
    groups: dict[str, float],
    share: float,
    limits: tuple[float, float],
    expected: tuple[str, str | None],
) -> None:
    """The limits are shares of groups: those whose own interval, Wilson's, ends or begins above 0.9.

    Rewinding to epochs 0 and 10 counts, noisy accuracy reaching 20 % at epoch 15; that to 20 does not.
    """
    rewound(simulated, groups, groups)
    found = simulated.judged()["L1.cifar10"]
    assert said(found) == expected
    assert (found.ours, found.lo, found.hi) == pytest.approx((share, *limits))
    assert "before epoch 15" in found.reason


def test_one_network_leans(simulated: Simulated) -> None:
    rewound(simulated, groups_of(6, 0, 4, 0.9))
    found = simulated.judged()["L1.cifar10"]
    assert (said(found), found.lo, found.hi) == (FOR, 0.6, 0.6)
    assert found.reason.endswith("one training, the interval is of this network")


def test_only_epochs_before_memorization_count(simulated: Simulated) -> None:
    """Of every training: the second one reaches 20 % at epoch 12, so that epoch 14 is none of its cells."""
    columns = {"layer": ["a"] * 4, "epoch": [0, 14, 15, 40], "clean_acc": [1.0] * 4, "noisy_acc": [0.95, 0.95, 0.0, 0.0]}
    config = {"epochs": [0, 14, 15, 40], "buffers": "final"}
    simulated.analysis(simulated.training(seed=0, n=N), "rewind", config, rewind=columns)
    assert simulated.judged()["L1.cifar10"].ours == 1.0
    columns["noisy_acc"] = [0.95, 0.0, 0.0, 0.0]
    early = [0.0] * 11 + [0.2] * 39
    simulated.analysis(simulated.training(seed=1, n=N, noisy_acc=early), "rewind", config, rewind=columns)
    found = simulated.judged()["L1.cifar10"]
    assert (said(found), found.ours) == (HOLDS, 1.0)
    assert "before epoch 12 to 15" in found.reason


def test_nothing_rewound_early_enough(simulated: Simulated) -> None:
    simulated.rewind(simulated.training(), GROUPS, epochs=[30, 40])
    found = simulated.judged()
    assert found["L1.cifar10"].verdict == found["W1.cifar10"].verdict == "not_testable"
    assert "rewind.epochs" in found["W1.cifar10"].reason


# --- W1 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conv4", "linear", "expected"),
    [
        ([0.95, 0.95, 0.95], [0.99, 0.99, 0.99], HOLDS),
        ([0.82, 0.82, 0.82], [0.99, 0.99, 0.99], NOT),
        ([0.95, 0.95, 0.95], [0.82, 0.82, 0.82], NOT),
        ([0.85, 0.85, 0.85], [0.99, 0.99, 0.99], AGAINST),  # below 0.9 at 90 %, not at 1 − 0.05/4: four cells
        ([0.92, 0.91, 0.93], [0.99, 0.99, 0.99], FOR),
        ([0.88, 0.87, 0.89], [0.99, 0.99, 0.99], AGAINST),
        ([0.98, 0.92, 0.98], [0.99, 0.99, 0.99], FOR),  # the examples alone would let it hold: the seeds differ
        ([0.88, 0.96, 0.92], [0.99, 0.99, 0.99], ("inconclusive", None)),
    ],
)
def test_the_last_two_groups_leave_the_noisy(
    simulated: Simulated, conv4: list[float], linear: list[float], expected: tuple[str, str | None]
) -> None:
    """The interval has both spreads in it. The other groups do not count."""
    rewound(simulated, *({**GROUPS, "conv4": a, "linear": b} for a, b in zip(conv4, linear, strict=True)))
    found = simulated.judged()["W1.cifar10"]
    name, values = ("conv4", conv4) if np.mean(conv4) < np.mean(linear) else ("linear", linear)
    assert said(found) == expected
    assert (found.ours, found.lo, found.hi) == pytest.approx(combined(values, NOISY))
    assert f"after rewinding {name} to epoch " in found.reason
    assert found.seeds == 3


@pytest.mark.parametrize(("other", "n"), [({"seed": 1}, NOISY), ({"data_seed": 1}, 2 * NOISY)])
def test_examples_that_trainings_share_count_once(simulated: Simulated, other: dict[str, int], n: int) -> None:
    """n is the number of distinct (data_seed, example); the two trainings have no spread."""
    left = {"conv3": 0.2, "conv4": 0.95, "linear": 0.99}
    rewound(simulated, left)
    rewound(simulated, left, **other)
    found = simulated.judged()["W1.cifar10"]
    limits = [np.log(p / (1 - p)) for p in wilson(0.95, n)]
    assert [np.log(p / (1 - p)) for p in (found.lo or 0, found.hi or 0)] == pytest.approx(limits)


def test_examples_of_a_training_that_is_left_out_do_not_count(simulated: Simulated) -> None:
    """One training was rewound to no epoch before it learns noisy examples. Its own noisy examples are others."""
    left = {"conv3": 0.2, "conv4": 0.95, "linear": 0.99}
    rewound(simulated, left)
    simulated.rewind(simulated.training(data_seed=1, n=N), left, epochs=(20,))
    judged = simulated.judged()
    assert (judged["W1.cifar10"].seeds, judged["L1.cifar10"].seeds) == (1, 1)
    assert (judged["W1.cifar10"].lo, judged["W1.cifar10"].hi) == pytest.approx(wilson(0.95, NOISY))


def test_two_trainings_have_the_spread_of_all_cells(simulated: Simulated) -> None:
    """On the logit scale. One cell each of conv4 and linear at epochs 0 and 10: four cells, four degrees of freedom."""
    conv4, linear = np.array([0.90, 0.94]), np.array([0.96, 0.97])
    rewound(simulated, *({"conv4": a, "linear": b} for a, b in zip(conv4, linear, strict=True)))
    found = simulated.judged()["W1.cifar10"]

    def logit(p: Any) -> Any:
        return np.log(p / (1 - p))

    pooled = (np.var(logit(conv4), ddof=1) + np.var(logit(linear), ddof=1)) / 2
    half = stats.t.ppf(0.975, 4) * np.sqrt(pooled / 2)
    middle, limits = logit(0.92), wilson(0.92, NOISY)
    below, above = (np.hypot(middle - logit(limit), half) for limit in limits)
    assert (found.ours, logit(found.lo), logit(found.hi)) == pytest.approx((0.92, middle - below, middle + above))
    assert found.reason.endswith("the two trainings have 0.9 and 0.94")


# --- W2, W3 -------------------------------------------------------------------------------------------------------------

CLEAN = {"conv1": 0.5, "conv2": 0.6, "conv3": 0.9, "conv4": 0.99, "linear": 1.0}
BACKWARDS = dict(zip(GROUPS, reversed(GROUPS.values()), strict=True))
UNRELATED = dict(zip(GROUPS, (0.2, 0.99, 0.95, 0.6, 0.4), strict=True))
SHUFFLED = dict(zip(GROUPS, (0.6, 0.2, 0.95, 0.4, 0.99), strict=True))


@pytest.mark.parametrize(
    ("seeds", "clean", "expected", "rho"),
    [
        (2, CLEAN, HOLDS, 1.0),
        (2, BACKWARDS, NOT, -1.0),
        (2, SHUFFLED, FOR, 0.5),
        (2, UNRELATED, NOT, 0.0),
        (1, UNRELATED, AGAINST, 0.0),
        (1, CLEAN, FOR, 1.0),
        (1, BACKWARDS, AGAINST, -1.0),
    ],
)
def test_critical_groups_alike(
    simulated: Simulated, seeds: int, clean: dict[str, float], expected: tuple[str, str | None], rho: float
) -> None:
    """The p by counting all 5! pairings, with scipy's coefficient. There is no interval."""
    for seed in range(seeds):
        simulated.rewind(simulated.training(seed=seed), GROUPS, clean)
    found = simulated.judged()["W2.cifar10"]
    assert said(found) == expected
    assert found.ours == pytest.approx(rho, abs=1e-12)
    shuffles = [stats.spearmanr(range(5), order).statistic for order in permutations(range(5))]
    p = np.mean([shuffled >= rho - 1e-9 for shuffled in shuffles])
    assert (found.lo, found.hi, found.seeds) == (None, None, seeds)
    assert f"p = {p:.2g};" in found.reason
    assert found.reason.endswith("by training " + " and ".join([f"{rho:.3g}"] * seeds))


def test_the_mean_drops_are_compared_and_each_training_is_told(simulated: Simulated) -> None:
    """One training for, one against: the mean drops decide, and where they do not, it leans to neither side."""
    mild = {g: 1 - (1 - v) / 10 for g, v in BACKWARDS.items()}
    simulated.rewind(simulated.training(seed=0), GROUPS, CLEAN)
    simulated.rewind(simulated.training(seed=1), GROUPS, mild)
    found = simulated.judged()["W2.cifar10"]
    means = [CLEAN[g] + mild[g] for g in GROUPS]
    assert found.ours == pytest.approx(stats.spearmanr(list(GROUPS.values()), means).statistic)
    assert {"1 and -1", "-1 and 1"} & {found.reason.rpartition("by training ")[2]}
    simulated.rewind(simulated.training(seed=2), GROUPS, SHUFFLED)
    assert simulated.judged()["W2.cifar10"].leans != "for"


def test_groups_that_cost_the_same_cannot_be_ranked(simulated: Simulated) -> None:
    simulated.rewind(simulated.training(), dict.fromkeys(GROUPS, 0.5))
    assert simulated.judged()["W2.cifar10"].verdict == "not_testable"


def test_what_rewinding_costs_by_a_loop() -> None:
    generator = np.random.default_rng(0)
    rows = [(t, g, e, generator.random()) for t in ("s", "t") for g in ("b", "a") for e in (0, 5, 9)]
    frame = pd.DataFrame(rows, columns=["trial", "layer", "epoch", "noisy_acc"])
    lost = Rewound(frame, {}, {"s": 9, "t": 9}, None).drops("noisy_acc")  # type: ignore[arg-type]
    assert list(lost.columns) == ["b", "a"]
    for trial in ("s", "t"):
        whole = max(a for t, _, e, a in rows if t == trial and e == 9)
        for group in ("a", "b"):
            left = [a for t, g, e, a in rows if (t, g) == (trial, group) and e < 9]
            assert lost.loc[trial, group] == pytest.approx(whole - sum(left) / 2)


@pytest.mark.parametrize("dataset", ["cifar10", "mnist"])
@pytest.mark.parametrize(
    ("expected_left", "other_left", "expected"),
    [
        ([0.3, 0.4, 0.35], [0.6, 0.6, 0.7], HOLDS),
        ([0.6, 0.6, 0.7], [0.3, 0.4, 0.35], NOT),
        ([0.50, 0.52, 0.48], [0.54, 0.55, 0.50], FOR),
        ([0.54, 0.55, 0.50], [0.50, 0.52, 0.48], AGAINST),
        ([0.5, 0.4, 0.3], [0.45, 0.6, 0.7], ("inconclusive", None)),
    ],
)
def test_the_critical_group_of_resnet50(
    simulated: Simulated,
    dataset: str,
    expected_left: list[float],
    other_left: list[float],
    expected: tuple[str, str | None],
) -> None:
    """Newcombe's limits of a difference of Wilson's accuracies, and Student's of the trainings' own differences."""
    critical, other = ("layer3", "layer4") if dataset == "cifar10" else ("layer4", "layer3")
    rest = dict.fromkeys(("stem", "layer1", "layer2", "fc"), 0.95)
    groups = [{**rest, critical: a, other: b} for a, b in zip(expected_left, other_left, strict=True)]
    rewound(simulated, *groups, model="resnet50", dataset=dataset)
    rewound(simulated, {"layer3": 0.3, "layer1": 0.9}, dataset=dataset)  # not of this model
    judged = simulated.judged()
    found = judged[f"W3.{dataset}.resnet50"]
    assert said(found) == expected
    one, two = float(np.mean(other_left)), float(np.mean(expected_left))
    (one_lo, one_hi), (two_lo, two_hi) = wilson(one, NOISY), wilson(two, NOISY)
    half = student_half(np.array(other_left) - np.array(expected_left))
    below, above = np.hypot(one - one_lo, two_hi - two), np.hypot(one_hi - one, two - two_lo)
    limits = (one - two - np.hypot(below, half), one - two + np.hypot(above, half))
    assert (found.ours, found.lo, found.hi) == pytest.approx((one - two, *limits), abs=2e-3)  # shares of whole examples
    assert f"rewinding {critical} costs" in found.reason
    assert f"({other})" in found.reason
    assert judged[f"W3.{'mnist' if dataset == 'cifar10' else 'cifar10'}.resnet50"].verdict == "not_run"
    assert sum(k.startswith("W3") for k in judged) == 2


def student_half(differences: Any) -> float:
    return float(stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences))


def test_the_critical_group_counts_the_examples_of_the_trainings_that_are_compared(simulated: Simulated) -> None:
    """Another training was set back to its last epoch alone. Its mislabeled examples are others."""
    left = {"stem": 0.95, "layer3": 0.3, "layer4": 0.6}
    rewound(simulated, left, model="resnet50")
    alone = simulated.judged()["W3.cifar10.resnet50"]
    simulated.rewind(simulated.training(data_seed=1, n=N, model="resnet50"), left, epochs=())
    found = simulated.judged()["W3.cifar10.resnet50"]
    assert (found.seeds, found.lo, found.hi) == (1, alone.lo, alone.hi)


def test_the_largest_other_group_is_each_trainings_own(simulated: Simulated) -> None:
    """layer3 costs more than layer1 and layer2 on average, and never most: its difference is −0.1 in both trainings."""
    groups = [{"layer1": 0.4, "layer2": 0.9, "layer3": 0.5}, {"layer1": 0.9, "layer2": 0.4, "layer3": 0.5}]
    rewound(simulated, *groups, model="resnet50")
    found = simulated.judged()["W3.cifar10.resnet50"]
    assert found.ours == pytest.approx(-0.1)
    assert found.verdict == "does_not_hold"


# --- R1, R2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("best", "share", "limits", "expected"),
    [
        ([0.95, 0.95, 0.5], 2 / 3, (2 / 3, 2 / 3), HOLDS),
        ([0.95, 0.95, 0.5, 0.5], 0.5, (0.5, 0.5), NOT),
        ([0.95, 0.5, 0.2], 1 / 3, (1 / 3, 1 / 3), NOT),
        ([0.95, 0.91, 0.2], 2 / 3, (1 / 3, 2 / 3), FOR),
        ([0.95, 0.89, 0.2], 1 / 3, (1 / 3, 2 / 3), AGAINST),
    ],
)
def test_most_groups_reach_the_noisy_again(
    simulated: Simulated,
    best: list[float],
    share: float,
    limits: tuple[float, float],
    expected: tuple[str, str | None],
) -> None:
    """The best epoch counts, and epoch 0, before training, does not."""
    reached = {f"g{k}": [1.0, value, 0.2] for k, value in enumerate(best)}
    retrained(simulated, reached, reached)
    found = simulated.judged()["R1.cifar10"]
    assert said(found) == expected
    assert found.paper is None  # it says "most layers"; its 100 % are accuracies
    assert (found.ours, found.lo, found.hi) == pytest.approx((share, *limits))
    assert f"the worst is g{len(best) - 1} ({best[-1]:.3f})" in found.reason or best[-1] == best[-2]


@pytest.mark.parametrize(
    ("best", "last", "expected"),
    [
        ([0.8, 0.79, 0.81], [0.05, 0.04, 0.06], (HOLDS, HOLDS)),
        ([0.6, 0.59, 0.61], [0.05, 0.04, 0.06], (NOT, HOLDS)),
        ([0.8, 0.79, 0.81], [0.15, 0.16, 0.17], (HOLDS, NOT)),
        ([0.73, 0.72, 0.74], [0.09, 0.085, 0.08], (FOR, FOR)),
        ([0.68, 0.67, 0.69], [0.11, 0.12, 0.115], (AGAINST, AGAINST)),
    ],
)
def test_layer_5_of_mnist_forgets_again(
    simulated: Simulated, best: list[float], last: list[float], expected: tuple[tuple[str, str | None], ...]
) -> None:
    reached = [{"res2.conv1": [0, a, b], "conv1": [0, 0, 0]} for a, b in zip(best, last, strict=True)]
    retrained(simulated, *reached, dataset="mnist")
    found = simulated.judged()
    during, end = found["R2.mnist.during"], found["R2.mnist.end"]
    assert (said(during), said(end)) == expected
    assert (during.paper, end.paper) == (0.7, 0.1)
    assert (during.ours, during.lo, during.hi) == pytest.approx(combined(best, NOISY))
    assert (end.ours, end.lo, end.hi) == pytest.approx(combined(last, NOISY), abs=2e-3)


# --- A1 -----------------------------------------------------------------------------------------------------------------

BY_SCORE = {"memorized": "c_score:scores.npz", "c_score_below": 0.5}


@pytest.mark.parametrize(("last", "verdict"), [(0.95, "inconclusive"), (0.94, "not_testable")])
def test_atypical_examples_that_are_not_memorized_say_nothing(simulated: Simulated, last: float, verdict: str) -> None:
    trial = simulated.training(noise=0.0, evaluated=None)
    simulated.gradients(trial, noisy=1.3, **BY_SCORE)
    rows = [(g, e, last if e == 50 else left) for g, left in GROUPS.items() for e in (0, 50)]
    columns = {name: [r[i] for r in rows] for i, name in enumerate(("layer", "epoch", "noisy_acc"))}
    rewound = {"epochs": [0, 50], "buffers": "final", **BY_SCORE}
    simulated.analysis(trial, "rewind", rewound, rewind={**columns, "clean_acc": [1.0] * len(rows)})
    found = simulated.judged()["A1.cifar10.gradients"]
    assert found.verdict == verdict
    assert ("below 0.95" in found.reason) == (verdict == "not_testable")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (HOLDS, HOLDS, HOLDS)),
        ({"noisy": 2.1}, (NOT, HOLDS, HOLDS)),
        ({"clean": BACKWARDS}, (HOLDS, NOT, HOLDS)),
        ({"clean": SHUFFLED}, (HOLDS, FOR, HOLDS)),
        ({"worst": [0.87, 0.871]}, (HOLDS, HOLDS, NOT)),  # most of the layers do not do
        ({"worst": [0.91, 0.94]}, (HOLDS, HOLDS, FOR)),
        ({"worst": [0.86, 0.89]}, (HOLDS, HOLDS, AGAINST)),
        ({"seeds": 1}, (FOR, FOR, FOR)),
    ],
)
def test_atypical_examples(
    simulated: Simulated, given: dict[str, Any], expected: tuple[tuple[str, str | None], ...]
) -> None:
    """Analyses by C-score of trainings without label noise; that they memorized is known from rewinding."""
    worst, noisy, clean = given.get("worst", [0.95, 0.95]), given.get("noisy", 1.3), given.get("clean", GROUPS)
    for seed in range(given.get("seeds", 2)):
        trial = simulated.training(seed=seed, noise=0.0, evaluated=None)
        simulated.gradients(trial, noisy=noisy, **BY_SCORE)
        simulated.rewind(trial, GROUPS, clean, **BY_SCORE)
        simulated.retrain(trial, {"a": [0, 1.0], "b": [0, 1.0], "c": [0, worst[seed]]}, **BY_SCORE)
    found = simulated.judged()
    parts = ("gradients", "rewind", "retrain")
    assert tuple(said(found[f"A1.cifar10.{part}"]) for part in parts) == expected
    rho = stats.spearmanr(list(GROUPS.values()), [clean[g] for g in GROUPS]).statistic
    ours = (noisy, rho, 1 if np.mean(worst) >= 0.9 else 2 / 3)
    assert tuple(found[f"A1.cifar10.{part}"].ours for part in parts) == pytest.approx(ours)
    assert found["A1.mnist.rewind"].verdict == "not_run"
    assert found["G1.cifar10"].verdict == found["W1.cifar10"].verdict == found["R1.cifar10"].verdict == "not_run"


def test_atypical_examples_are_judged_on_the_papers_options(simulated: Simulated) -> None:
    """Another C-score makes another set, and other buffers another network. Neither is pooled with the paper's."""
    for seed in (0, 1):
        trial = simulated.training(noise=0.0, seed=seed, evaluated=None)
        for share, more in ((0.95, {}), (0.2, {"c_score_below": 0.25})):
            simulated.retrain(trial, {layer: [0.0, share] for layer in "abcd"}, **{**BY_SCORE, **more})
        usual, other = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}, {"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}
        simulated.rewind(trial, usual, usual, **BY_SCORE)
        simulated.rewind(trial, usual, other, **BY_SCORE, buffers="rewound")
    found = simulated.judged()
    assert (found["A1.cifar10.retrain"].ours, found["A1.cifar10.rewind"].ours) == (1.0, 1.0)
    assert found["A1.cifar10.retrain"].on == "cifar10, resnet9, noise 0"


def test_c_scores_of_different_sources_are_different_settings(simulated: Simulated) -> None:
    """Each is judged on its own analyses, and each number of a setting on the same source."""
    for seed in (0, 1):
        trial = simulated.training(noise=0.0, seed=seed, evaluated=None)
        for source, share, noisy in (("one", 1.0, 1.1), ("two", 0.0, 1.6)):
            of_source = {**BY_SCORE, "memorized": f"c_score:{source}"}
            simulated.gradients(trial, noisy=noisy, **of_source)
            simulated.rewind(trial, GROUPS, **of_source)
            simulated.retrain(trial, {layer: [0.0, share] for layer in "abc"}, **of_source)
    found = [j for j in simulated.judged().of("A1").values() if j.ours is not None]
    numbers: dict[str, dict[str, float | None]] = {}
    for j in found:
        numbers.setdefault(j.on, {})[j.part] = j.ours
        assert j.seeds == 2
    words = "cifar10, resnet9, noise 0, memorized c_score:{}"
    assert numbers == {
        words.format("one"): {"gradients": pytest.approx(1.1), "rewind": 1.0, "retrain": 1.0},
        words.format("two"): {"gradients": pytest.approx(1.6), "rewind": 1.0, "retrain": 0.0},
    }


def test_c_scores_of_each_data_seeds_subset_are_one_source(simulated: Simulated) -> None:
    for data_seed in (0, 1):
        trial = simulated.training(noise=0.0, data_seed=data_seed, subset=50, evaluated=None)
        of_source = {**BY_SCORE, "memorized": f"c_score:{data_seed}"}
        simulated.rewind(trial, GROUPS, **of_source)
        simulated.retrain(trial, {layer: [0.0, 1.0] for layer in "abc"}, **of_source)
    found = simulated.judged()["A1.cifar10.retrain"]
    assert (found.seeds, found.on) == (2, "cifar10, resnet9, noise 0, subset 50")


def test_a_learning_rate_of_retraining_hides_none_of_training(simulated: Simulated) -> None:
    """Two trainings with different learning rates are two findings, with the same one of retraining too."""
    for lr, share in ((0.05, 1.0), (0.02, 0.5)):
        simulated.retrain(simulated.training(lr=lr), {"a": [0.0, share], "b": [0.0, share]}, lr=0.2)
    found = {j.on: j.ours for j in simulated.judged().of("R1").values() if j.ours is not None}
    words = "cifar10, resnet9, noise 0.1, lr {}, retrain.lr 0.2"
    assert found == {words.format(0.05): 1.0, words.format(0.02): 0.0}
