"""F1–F5 and D1 on counts and AUCs that are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from memloc.papers.maini2023.flipped_neurons import split_variations, total_variation
from tests.papers.maini2023.simulated import Simulated


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def test_noisy_examples_need_fewer(simulated: Simulated) -> None:
    generator = np.random.default_rng(0)
    counts = {True: generator.poisson(5.1, 10).tolist(), False: generator.poisson(15.7, 60).tolist()}
    simulated.flips(simulated.training(), counts, repeats=2)
    found = simulated.judged()
    assert [found[f"F1.{part}"].verdict for part in ("noisy", "clean", "ratio")] == ["holds"] * 3
    means = np.mean(counts[True]), np.mean(counts[False])
    assert [found[f"F1.{part}"].ours for part in ("noisy", "clean", "ratio")] == pytest.approx([*means, means[0] / means[1]])
    p = stats.mannwhitneyu(counts[True], counts[False], alternative="less").pvalue
    assert f"p = {p:.2g}" in found["F1.noisy"].reason
    assert [found[f"F1.{part}"].paper for part in ("noisy", "clean")] == [5.1, 15.7]
    for part in ("noisy", "clean", "ratio"):
        j = found[f"F1.{part}"]
        assert None not in (j.lo, j.ours, j.hi)
        assert j.lo < j.ours < j.hi  # type: ignore[operator]


def test_means_over_all_searches_too(simulated: Simulated) -> None:
    """A tenth of the noisy examples are predicted otherwise from the start: they count 0, and do not enter the mean."""
    simulated.flips(simulated.training(evaluated=0.95), {True: [4] * 20, False: [9] * 20}, eligible=0.9)
    found = simulated.judged()
    assert (found["F1.noisy"].ours, found["F1.clean"].ours) == (4, 9)
    assert "the mean over all 20 searches is 3.60, where one" in found["F1.noisy"].reason
    assert "the mean over all 20 searches is 9.00, where one" in found["F1.clean"].reason


def test_as_many_neurons_for_both(simulated: Simulated) -> None:
    generator = np.random.default_rng(0)
    simulated.flips(simulated.training(), {noisy: generator.poisson(8, 10).tolist() for noisy in (True, False)})
    found = simulated.judged()
    assert [found[f"F1.{part}"].verdict for part in ("noisy", "clean", "ratio")] == ["does_not_hold"] * 3


@pytest.mark.parametrize(("few", "verdict"), [(10, "holds"), (9, "does_not_hold")])
def test_few_neurons(simulated: Simulated, few: int, verdict: str) -> None:
    """Of 10 noisy examples; 9 are not more than 90 %. A search of 10 is not one of fewer than 10."""
    simulated.flips(simulated.training(), {True: [9] * few + [10] * (10 - few), False: [20] * 10})
    found = simulated.judged()["F2"]
    interval = stats.binomtest(few, 10).proportion_ci(method="wilson")
    assert (found.verdict, found.ours) == (verdict, few / 10)
    assert (found.lo, found.hi) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("last", "share", "verdict"), [(14, 1.0, "holds"), (16, 0.9, "does_not_hold")])
def test_few_neurons_on_average(simulated: Simulated, last: int, share: float, verdict: str) -> None:
    """Ten examples, two trainings: 5 and 14 are 9.5 on average, which is fewer than ten; 5 and 16 are not."""
    for seed, counts in enumerate(([5] * 10, [14] * 9 + [last])):
        simulated.flips(simulated.training(seed=seed), {True: counts, False: [20] * 10}, repeats=2)
    found = simulated.judged()["F2"]
    interval = stats.binomtest(round(10 * share), 10).proportion_ci(method="wilson")
    assert (found.verdict, found.ours) == (verdict, share)
    assert (found.lo, found.hi) == pytest.approx((interval.low, interval.high))
    assert "on average over 4 (training, repeat); it must be above 0.9; interval over 10 examples" in found.reason


def test_a_censored_search_counts_as_all_it_was_allowed(simulated: Simulated) -> None:
    trial = simulated.training()
    rows = {"example": [0, 1, 50], "repeat": [0] * 3, "noisy": [True, True, False], "eligible": [True] * 3}
    simulated.analysis(
        trial,
        "flips",
        {"estimator": "fast", "reference": 16, "max_neurons": 200, "clean": 1, "noisy": 2, "repeats": 1},
        flips={**rows, "count": [2, 4, 4], "censored": [False, True, True], "layers": [["a"]] * 3},
    )
    found = simulated.judged()
    assert (found["F1.noisy"].ours, found["F1.clean"].ours) == (101, 200)


@pytest.mark.parametrize(
    ("noisy", "clean", "verdict"), [(0.9, 0.8, "holds"), (0.8, 0.8, "does_not_hold"), (0.7, 0.8, "does_not_hold")]
)
def test_accuracy_left(simulated: Simulated, noisy: float, clean: float, verdict: str) -> None:
    """On the training set (F3: both sets' accuracies are the given one, so is their mean), and on the test set (F5)."""
    simulated.flips(simulated.training(), {True: [3] * 10, False: [9] * 10}, left={True: noisy, False: clean})
    found = simulated.judged()
    assert found["F3"].verdict == found["F5"].verdict == verdict
    assert (found["F3"].ours, found["F5"].ours) == pytest.approx((noisy - clean, noisy - clean))


def test_training_accuracy_weighs_the_sets(simulated: Simulated) -> None:
    """Of 90 clean and 10 noisy examples."""
    rows = {"example": [0, 1, 50, 51], "repeat": [0] * 4, "noisy": [True] * 2 + [False] * 2, "eligible": [True] * 4}
    left = {"clean_acc": [0.9, 0.9, 0.6, 0.6], "noisy_acc": [0.3, 0.3, 0.8, 0.8], "test_acc": [0.5] * 4}
    simulated.analysis(
        simulated.training(),
        "flips",
        {"max_neurons": 200, "clean": 2, "noisy": 2, "repeats": 1},
        flips={**rows, **left, "count": [3] * 4, "censored": [False] * 4, "layers": [["a"]] * 4},
    )
    expected = (0.9 * 0.9 + 0.1 * 0.3) - (0.9 * 0.6 + 0.1 * 0.8)
    assert simulated.judged()["F3"].ours == pytest.approx(expected)


def test_without_accuracies_after_flipping(simulated: Simulated) -> None:
    simulated.flips(simulated.training(), {True: [3] * 10, False: [9] * 10})
    found = simulated.judged()
    assert found["F3"].verdict == found["F5"].verdict == "not_testable"
    assert "post_eval" in found["F3"].reason


@pytest.mark.parametrize(
    ("noisy", "verdict"), [(["conv1", "conv2", "linear"], "holds"), (["linear", "linear", "linear"], "does_not_hold")]
)
def test_layers_of_the_neurons(simulated: Simulated, noisy: list[str], verdict: str) -> None:
    layers = {True: noisy, False: ["conv1", "conv2", "linear"]}
    simulated.flips(simulated.training(), {True: [3] * 10, False: [3] * 30}, layers=layers)
    found = simulated.judged()["F4"]
    assert found.verdict == verdict
    assert found.ours == pytest.approx(0.0 if verdict == "holds" else 2 / 3)


@pytest.mark.parametrize("differing", [4, 5])
def test_layers_of_the_first_five_neurons(simulated: Simulated, differing: int) -> None:
    """Numbered from 0: what is closed fifth counts, what is closed sixth does not."""
    clean = ["a"] * 7
    noisy = ["b" if k == differing else "a" for k in range(7)]
    simulated.flips(simulated.training(), {True: [7] * 10, False: [7] * 30}, layers={True: noisy, False: clean})
    found = simulated.judged()["F4"]
    assert (found.verdict, found.ours) == (("does_not_hold", pytest.approx(0.2)) if differing == 4 else ("holds", 0.0))


def test_total_variation_of_splits() -> None:
    """Of examples that are all alike no split differs; of two that have nothing in common every split does wholly."""
    assert total_variation(np.array([3.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.25)
    assert set(split_variations(np.ones((6, 3)), np.random.default_rng(0), 20)) == {0.0}
    assert set(split_variations(np.eye(2), np.random.default_rng(0), 20)) == {1.0}


# --- D1 ---------------------------------------------------------------------------------------------------------------


def detect(
    simulated: Simulated, trial: str, flips: str, aucs: dict[str, float], half: float = 0.02, everywhere: float | None = None
) -> None:
    """AUCs on the flip sample; everywhere: that of every score but flips on all examples."""
    names, samples, values = list(aucs), ["flips"] * len(aucs), list(aucs.values())
    for name in [n for n in aucs if n != "flips" and everywhere is not None]:
        names, samples, values = [name, *names], ["all", *samples], [everywhere or 0.0, *values]
    rows = {"score": names, "sample": samples, "auc": values, "n": [50000 if s == "all" else 2000 for s in samples]}
    bounds = {"auc_lo": [a - half for a in values], "auc_hi": [a + half for a in values]}
    one, other = list(aucs)[:2]
    pairs = {"score": [one], "other": [other], "sample": ["flips"], "auc_diff": [aucs[one] - aucs[other]]}
    config = {"scores": list(aucs)}
    simulated.analysis(
        trial,
        "detection",
        config,
        [flips],
        detection={**rows, **bounds, "ap": [0.5] * len(names), "precision": [0.5] * len(names)},
        detection_pairs=pairs,
    )


@pytest.mark.parametrize(("auc", "verdict"), [(0.95, "holds"), (0.86, "holds"), (0.85, "does_not_hold")])
def test_an_auc_that_reaches_the_papers(simulated: Simulated, auc: float, verdict: str) -> None:
    """Of 100 clean examples that share needs more than the noisy. DeLong's variance then is that of a share, over n − 1."""
    trial, above = simulated.training(), round(100 * auc)
    flips = simulated.flips(trial, {True: [5] * 10, False: [9] * above + [3] * (100 - above)})
    detect(simulated, trial, flips, {"flips": auc, "learning_time": 0.87})
    found = simulated.judged()
    one = found["D1.flips"]
    assert (one.verdict, one.ours, one.paper) == (verdict, pytest.approx(auc), 0.89)
    half = stats.norm.ppf(0.975) * np.sqrt(auc * (1 - auc) / 99)
    assert (one.lo, one.hi) == pytest.approx((auc - half, auc + half))
    assert one.reason.startswith(
        "AUC of counts of 110 examples; it must be at least 0.89 less 0.03; interval over examples; on "
    )
    assert f"{auc - 0.87:+.3f} from learning_time" in found["D1.flips"].reason
    assert f"{0.87 - auc:+.3f} from flips" in found["D1.learning_time"].reason
    assert found["D1.second_split"].verdict == "not_run"


@pytest.mark.parametrize(("aucs", "verdict"), [((0.84, 0.85), "holds"), ((0.5, 1.0), "does_not_hold")])
def test_an_auc_of_two_seeds_far_apart_is_judged_itself(
    simulated: Simulated, aucs: tuple[float, float], verdict: str
) -> None:
    """0.75 [0.4, 1] is no 0.87, and 0.845 is: not the wider interval holds."""
    for seed, auc in enumerate(aucs):
        trial = simulated.training(seed=seed)
        flips = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
        detect(simulated, trial, flips, {"flips": 0.9, "learning_time": auc})
    found = simulated.judged()["D1.learning_time"]
    assert (found.verdict, found.ours, found.paper) == (verdict, pytest.approx(np.mean(aucs)), 0.87)
    assert found.hi is not None
    assert found.hi >= 0.86
    assert "it must be at least 0.87 less 0.03" in found.reason


@pytest.mark.parametrize(("half", "verdict"), [(0.05, "holds"), (0.3, "does_not_hold")])
def test_an_auc_without_a_number_of_the_paper_is_above_guessing(simulated: Simulated, half: float, verdict: str) -> None:
    for dataset in ("cifar10", "digits"):
        trial = simulated.training(dataset=dataset)
        flips = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
        detect(simulated, trial, flips, {"flips": 0.9, "learning_time": 0.7}, half)
    found = simulated.judged()["D1.digits.learning_time"]
    assert (found.verdict, found.ours, found.paper) == (verdict, pytest.approx(0.7), None)


@pytest.mark.parametrize(
    ("aucs", "verdicts"),
    [
        ((0.84, 0.9), ("holds", "holds")),
        ((0.83, 0.9), ("does_not_hold", "holds")),
        ((0.84, 0.89), ("holds", "does_not_hold")),
    ],
)
def test_times_that_find_the_mislabeled(simulated: Simulated, aucs: tuple[float, float], verdicts: tuple[str, str]) -> None:
    """Learning time's number in the paper is 0.87, the second split's 0.93."""
    trial = simulated.training()
    flips = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
    detect(simulated, trial, flips, {"flips": 1.0, "learning_time": aucs[0], "second_split": aucs[1]})
    found = simulated.judged()
    times = [found[f"D1.{score}"] for score in ("learning_time", "second_split")]
    assert tuple(j.verdict for j in times) == verdicts
    assert [(j.ours, j.paper) for j in times] == [(aucs[0], 0.87), (aucs[1], 0.93)]


def test_on_the_examples_that_all_scores_have(simulated: Simulated) -> None:
    """On all examples learning_time would hold."""
    trial = simulated.training()
    flips = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
    detect(simulated, trial, flips, {"flips": 0.9, "learning_time": 0.7}, everywhere=0.99)
    found = simulated.judged()["D1.learning_time"]
    assert (found.verdict, found.ours) == ("does_not_hold", pytest.approx(0.7))
    assert "over 2000 examples" in found.reason


def test_aucs_of_trainings_on_the_same_examples(simulated: Simulated) -> None:
    """Their DeLong errors do not average out; what differs between trainings does."""
    for seed, auc in enumerate((0.8, 0.9)):
        trial = simulated.training(seed=seed)
        flips = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
        detect(simulated, trial, flips, {"flips": 0.9, "learning_time": auc})
    found = simulated.judged()["D1.learning_time"]
    half = np.sqrt(0.02**2 + 1.96**2 * np.var([0.8, 0.9], ddof=1) / 2)
    assert (found.ours, found.lo, found.hi) == pytest.approx((0.85, 0.85 - half, min(1, 0.85 + half)))
    assert found.seeds == 2


@pytest.mark.parametrize(("clean", "verdict"), [([5, 5], "holds"), ([1, 1], "does_not_hold")])
def test_counts_are_averaged_over_trainings_first(simulated: Simulated, clean: list[int], verdict: str) -> None:
    """The noisy examples' mean counts are 5 and 5, the clean ones' 7 and 7, or 5 and 5; one by one they say otherwise."""
    for seed, (auc, noisy, first) in enumerate(((0.8, [1, 9], clean), (0.9, [9, 1], [9, 9]))):
        trial = simulated.training(seed=seed)
        flips = simulated.flips(trial, {True: noisy, False: first})
        detect(simulated, trial, flips, {"flips": auc, "learning_time": 0.87})
    found = simulated.judged()["D1.flips"]
    assert (found.verdict, found.ours, found.seeds) == (verdict, 1.0 if verdict == "holds" else 0.5, 2)
    assert found.reason.startswith("AUC of mean counts over 2 (training, repeat) of 4 examples")
    half = np.sqrt(0.02**2 + 1.96**2 * np.var([0.8, 0.9], ddof=1) / 2)
    assert f"; mean of 2 trainings' own AUCs 0.850 [{0.85 - half:.3f}, {min(1, 0.85 + half):.3f}]; " in found.reason


def test_the_auc_of_counts_by_scikit_learn(simulated: Simulated) -> None:
    """Trainings of two data_seeds with two repeats: an example noisy in some alone is two. Few are not eligible."""
    generator, rows = np.random.default_rng(0), []
    for seed, data_seed in ((0, 0), (1, 0), (0, 1)):
        trial = simulated.training(seed=seed, data_seed=data_seed)
        noisy = np.arange(40) % 4 == data_seed
        frame = pd.DataFrame(
            {"example": np.tile(np.arange(40), 2), "repeat": np.repeat([0, 1], 40), "noisy": np.tile(noisy, 2)}
        )
        frame["eligible"] = generator.random(80) < 0.9
        frame["count"] = generator.poisson(np.where(frame["noisy"], 4, 6))
        columns = {c: frame[c].tolist() for c in frame}
        closed = {"censored": [False] * 80, "layers": [["a"]] * 80}
        config = {"max_neurons": 200, "clean": 30, "noisy": 10, "repeats": 2}
        flips = simulated.analysis(trial, "flips", config, flips={**columns, **closed})
        detect(simulated, trial, flips, {"flips": 0.9, "learning_time": 0.87})
        rows.append(frame[frame["eligible"]])
    means = pd.concat(rows).groupby(["noisy", "example"])["count"].mean().reset_index()
    found = simulated.judged()["D1.flips"]
    assert len(means) > 40
    assert f"over 6 (training, repeat) of {len(means)} examples" in found.reason
    assert found.ours == pytest.approx(roc_auc_score(means["noisy"], -means["count"]))


def test_detections_by_other_flips_are_another_setting(simulated: Simulated) -> None:
    trial = simulated.training()
    usual = simulated.flips(trial, {True: [3] * 10, False: [9] * 10})
    other = simulated.flips(trial, {True: [5] * 10, False: [5] * 10}, reference=64)
    detect(simulated, trial, other, {"flips": 0.5, "aum": 0.9})
    detect(simulated, trial, usual, {"flips": 0.9, "learning_time": 0.9})
    found = simulated.judged()
    assert found["D1.flips"].ours == 1.0
    assert found["D1.cifar10.reference64.flips"].ours == 0.5
    assert found["D1.cifar10.reference64.flips"].paper is None
