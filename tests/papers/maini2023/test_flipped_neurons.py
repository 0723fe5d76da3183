"""F1–F5 on counts, accuracies and closings that are given."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memloc.analysis import read_ahead
from memloc.analysis.closings import Closings
from memloc.analysis.observations import Observations
from memloc.analysis.searches import Searches
from memloc.papers.deciding import Estimate
from memloc.papers.maini2023.neurons.flips import accuracy_left, counts, few_neurons, same_layers
from memloc.seeds import stream
from memloc.statistics.total_variation import shares_apart
from tests.papers.maini2023.simulated import Simulated


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, "Neurons")


def searches(own: dict[str, dict[bool, list[int]]], **columns: dict[bool, float]) -> pd.DataFrame:
    """own: {training: {noisy: counts of its examples}}, data_seed 0. columns: {noisy: value}."""
    rows = [
        {
            "trial": t,
            "data_seed": 0,
            "repeat": 0,
            "example": k + 1000 * noisy,
            "noisy": noisy,
            "eligible": True,
            "count": count,
        }
        for t, by_set in own.items()
        for noisy, values in by_set.items()
        for k, count in enumerate(values)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(**{name: frame["noisy"].map(values) for name, values in columns.items()})


def verdict(estimate: Estimate) -> tuple[str, str | None]:
    return estimate.verdict, estimate.leans


# --- F1 ---------------------------------------------------------------------------------------------------------------


def test_noisy_examples_need_fewer(simulated: Simulated) -> None:
    """The ratio is the geometric mean of the trainings' ratios; each mean count is a mean over trainings of means."""
    generator, means = np.random.default_rng(0), []
    for seed in range(3):
        own = {True: generator.poisson(5.1, 10).tolist(), False: generator.poisson(15.7, 60).tolist()}
        simulated.flips(simulated.training(seed=seed), own, repeats=2)
        means.append([np.mean(own[noisy]) for noisy in (True, False)])
    found = simulated.judged()
    ratio, noisy, clean = (found[f"F1.{part}"] for part in ("ratio", "noisy", "clean"))
    assert (ratio.verdict, ratio.ours) == ("holds", pytest.approx(np.exp(np.mean([np.log(a / b) for a, b in means]))))
    assert [noisy.ours, clean.ours] == pytest.approx(np.mean(means, axis=0).tolist())
    assert [noisy.paper, clean.paper] == [5.1, 15.7]
    for one in (ratio, noisy, clean):
        assert None not in (one.lo, one.ours, one.hi)
        assert one.lo < one.ours < one.hi  # type: ignore[operator]


def test_mean_counts_are_shown_and_not_judged(simulated: Simulated) -> None:
    """However near they are to the paper's."""
    for seed in (0, 1):
        simulated.flips(simulated.training(seed=seed), {True: [5, 5, 5, 5, 5, 5, 5, 5, 5, 6], False: [15, 16] * 10})
    found = simulated.judged()
    for part in ("noisy", "clean"):
        assert (found[f"F1.{part}"].verdict, found[f"F1.{part}"].leans) == ("not_testable", None)
        assert "it is shown beside the paper's, and their ratio is judged" in found[f"F1.{part}"].reason


def test_means_over_all_searches_too(simulated: Simulated) -> None:
    """A tenth of the noisy examples are predicted otherwise from the start: they count 0, and do not enter the mean."""
    simulated.flips(simulated.training(evaluated=0.95), {True: [4] * 20, False: [9] * 20}, eligible=0.9)
    found = simulated.judged()
    assert (found["F1.noisy"].ours, found["F1.clean"].ours) == (4, 9)
    assert "the mean over all 20 searches is 3.60, where one" in found["F1.noisy"].reason
    assert "the mean over all 20 searches is 9.00, where one" in found["F1.clean"].reason


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [
        ([4, 6] * 20, ("holds", None)),
        ([8, 10] * 20, ("inconclusive", "for")),
        ([10, 11] * 20, ("inconclusive", "against")),
        ([14, 16] * 20, ("does_not_hold", None)),
    ],
)
def test_the_ratio_and_1(noisy: list[int], expected: tuple[str, str | None]) -> None:
    """Clean examples need 10 on average."""
    own = {True: noisy, False: [5, 15] * 10}
    found = counts(Searches.of(searches({"a": own, "b": own}), {}), "")["ratio"]
    assert verdict(found) == expected
    p = stats.mannwhitneyu(noisy, own[False], alternative="less").pvalue
    assert f"(Mann–Whitney over examples: p = {p:.2g}); it must be below 1" in found.reason


def test_one_network_leans(simulated: Simulated) -> None:
    simulated.flips(simulated.training(), {True: [3, 4] * 10, False: [30, 31] * 10}, left={True: 0.95, False: 0.5})
    found = simulated.judged()
    for name in ("F1.ratio", "F2", "F3", "F4", "F5"):
        assert (found[name].verdict, found[name].leans) == ("inconclusive", "for")
        assert found[name].reason.endswith("one training, the interval is of this network")


def test_repeats_of_a_network_are_no_networks(simulated: Simulated) -> None:
    """Eight repeats: averaged first, so that all that follows is what one search each would give."""
    generator = np.random.default_rng(0)
    own = {True: generator.poisson(5, 20).tolist(), False: generator.poisson(9, 20).tolist()}
    simulated.flips(simulated.training(dataset="mnist"), own, repeats=8, left={True: 0.9, False: 0.8})
    simulated.flips(simulated.training(dataset="svhn"), own, left={True: 0.9, False: 0.8})
    found = simulated.judged()
    other = "F{}.mnist" if "F2.mnist" in found else "F{}.svhn"
    for claim, part in (("1", ".ratio"), ("1", ".clean"), ("2", ""), ("3", ""), ("4", ""), ("5", "")):
        one, two = found[f"F{claim}{part}"], found[other.format(claim) + part]
        assert one.leans == two.leans
        assert (one.ours, one.lo, one.hi) == pytest.approx((two.ours, two.lo, two.hi))


def test_a_mean_count_of_0_has_no_ratio() -> None:
    found = counts(Searches.of(searches({"a": {True: [0] * 4, False: [3] * 4}}), {}), "")
    assert (found["ratio"].verdict, found["ratio"].reason) == ("not_testable", "the mean count of a set is 0 in a training")
    assert found["noisy"].interval is not None
    assert found["noisy"].interval.value == 0


def test_a_training_without_noisy_examples_is_left_out() -> None:
    frame = searches({"a": {True: [2, 4], False: [3, 9]}, "b": {False: [30, 30]}})
    found = counts(Searches.of(frame, {}), "")
    assert found["ratio"].trials == ["a"]
    assert found["clean"].interval is not None
    assert found["clean"].interval.value == 6
    none = counts(Searches.of(frame[frame["trial"] == "b"], {}), "")["ratio"]
    assert (none.verdict, none.reason) == ("not_testable", "no training has both clean and noisy examples that were flipped")


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


# --- F2 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("few", "expected"),
    [
        (200, ("holds", None)),
        (182, ("inconclusive", "for")),
        (180, ("inconclusive", "against")),
        (160, ("does_not_hold", None)),
    ],
)
def test_few_neurons(few: int, expected: tuple[str, str | None]) -> None:
    """Of 200 noisy examples; 180 are not more than 90 %. A search of 10 is not one of fewer than 10."""
    own = {True: [9] * few + [10] * (200 - few), False: [20] * 10}
    found = few_neurons(Searches.of(searches({"a": own, "b": own}), {}), "")
    interval = stats.binomtest(few, 200).proportion_ci(method="wilson")
    assert verdict(found) == expected
    assert found.interval == pytest.approx((few / 200, interval.low, interval.high))


def test_few_neurons_on_average() -> None:
    """5 and 14 are 9.5 on average, which is fewer than ten; 5 and 16 are not. What differs between trainings is added."""
    own = {"a": {True: [5] * 10, False: [20] * 10}, "b": {True: [14] * 9 + [16], False: [20] * 10}}
    found = few_neurons(Searches.of(searches(own), {}), "")
    interval = stats.binomtest(9, 10).proportion_ci(method="wilson")
    seeds = stats.t.ppf(0.975, 1) * np.std([1, 0], ddof=1) / np.sqrt(2)
    assert 0.9 - np.hypot(0.9 - interval.low, seeds) < 0 < 1 < 0.9 + np.hypot(interval.high - 0.9, seeds)
    assert found.interval == (0.9, 0.0, 1.0)
    assert verdict(found) == ("inconclusive", None)
    assert "share of 10 noisy examples that need fewer than 10 neurons, on average over 2 trainings" in found.reason


def test_an_example_of_another_data_seed_is_another() -> None:
    frame = searches({"a": {True: [5] * 10, False: [20] * 10}, "b": {True: [16] * 10, False: [20] * 10}})
    frame["data_seed"] = frame["trial"].map({"a": 0, "b": 1})
    found = few_neurons(Searches.of(frame, {}), "").interval
    assert found is not None
    assert found.value == 0.5


# --- F3, F5 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "f3", "f5"),
    [(0.1, "holds", "holds"), (0.05, "does_not_hold", "holds"), (-0.1, "does_not_hold", "does_not_hold")],
)
def test_accuracy_left(simulated: Simulated, more: float, f3: str, f5: str) -> None:
    """On the training set the paper's number is 0.1, less 0.03 (F3); on the test set it has none (F5)."""
    for seed in (0, 1):
        own = {True: [3] * 10, False: [9] * 10}
        simulated.flips(simulated.training(seed=seed), own, left={True: 0.8 + more, False: 0.8})
    found = simulated.judged()
    assert (found["F3"].verdict, found["F5"].verdict) == (f3, f5)
    assert (found["F3"].ours, found["F5"].ours) == pytest.approx((more, more))


@pytest.mark.parametrize(
    ("paper", "more", "expected"),
    [
        (None, (0.02, 0.021), ("holds", None)),
        (None, (0.001, 0.03), ("inconclusive", "for")),
        (None, (-0.001, 0.03), ("inconclusive", None)),
        (None, (-0.001, -0.03), ("inconclusive", "against")),
        (None, (-0.02, -0.021), ("does_not_hold", None)),
        (0.1, (0.08, 0.081), ("holds", None)),
        (0.1, (0.071, 0.09), ("inconclusive", "for")),
        (0.1, (0.05, 0.069), ("inconclusive", "against")),
        (0.1, (0.05, 0.051), ("does_not_hold", None)),
    ],
)
def test_what_two_trainings_have_left(
    paper: float | None, more: tuple[float, float], expected: tuple[str, str | None]
) -> None:
    """Every example of a set has the same accuracy left: only the two trainings differ, and Student's interval decides."""
    frame = searches({t: {True: [3] * 10, False: [3] * 10} for t in ("a", "b")})
    left = 0.5 + frame["noisy"] * frame["trial"].map(dict(zip(("a", "b"), more, strict=True)))
    frame = frame.assign(clean_acc=left, noisy_acc=left, test_acc=left)
    found = accuracy_left(Searches.of(frame, {"a": (90, 10), "b": (90, 10)}), "", paper)
    assert verdict(found) == expected
    low, high = stats.t.interval(0.95, 1, np.mean(more), stats.sem(more))
    assert found.interval == pytest.approx((np.mean(more), low, high))


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


# --- F4 ---------------------------------------------------------------------------------------------------------------


def closings(shares: dict[str, dict[bool, np.ndarray]]) -> Closings:
    """{training: {noisy: float[examples, layers]}}, of the same examples."""
    tables = np.array([np.concatenate([by_set[False], by_set[True]]) for by_set in shares.values()])
    clean, noisy = (len(next(iter(shares.values()))[of]) for of in (False, True))
    layers = [f"l{layer}" for layer in range(tables.shape[-1])]
    return Closings(list(shares), list(shares), layers, np.repeat([False, True], [clean, noisy]), tables, tables)


def of_two_layers(apart: float, n: int = 1000) -> dict[bool, np.ndarray]:
    """Clean examples close in either layer, half of them each; of noisy ones `apart` more of them in the first."""
    found = {}
    for noisy, share in ((False, 0.5), (True, 0.5 + apart)):
        found[noisy] = np.eye(2)[(np.arange(n) >= round(share * n)).astype(int)]
    return found


@pytest.mark.parametrize(
    ("apart", "expected"),
    [
        (0.0, ("holds", None)),
        (0.09, ("holds", None)),
        (0.14, ("inconclusive", "for")),
        (0.16, ("inconclusive", "against")),
        (0.25, ("does_not_hold", None)),
    ],
)
def test_layers_of_the_neurons(apart: float, expected: tuple[str, str | None]) -> None:
    """Total variation at most 0.15, of two trainings with 1000 + 1000 examples."""
    found = same_layers(closings(dict.fromkeys(("a", "b"), of_two_layers(apart))), "")
    assert verdict(found) == expected
    assert found.interval is not None
    assert found.interval.lo is not None
    assert found.interval.hi is not None
    assert found.interval.value == pytest.approx(apart)
    assert found.interval.lo <= found.interval.value <= found.interval.hi


def test_the_interval_of_total_variation_is_the_basic_bootstraps() -> None:
    """With 1000 + 1000 examples, apart by 0.25, the difference of shares is about normal."""
    one = closings({"a": of_two_layers(0.25)})
    _, lo, hi = shares_apart(one.share, one.noisy, stream(0, "claims", "F4")).printed
    error = np.sqrt(0.5 * 0.5 / 1000 + 0.75 * 0.25 / 1000)
    assert (lo, hi) == pytest.approx((0.25 - 1.96 * error, 0.25 + 1.96 * error), abs=0.004)


def test_the_basic_interval_takes_off_what_resampling_adds() -> None:
    """Of 40 + 40 examples in 6 layers, resampled here one by one: the percentile interval would end far higher."""
    generator = np.random.default_rng(3)
    drawn = {noisy: np.eye(6)[generator.choice(6, size=40)] for noisy in (False, True)}
    one = closings({"a": drawn})
    value, lo, hi = shares_apart(one.share, one.noisy, stream(0, "claims", "F4")).printed
    apart = []
    for _ in range(2000):
        one, other = (table[generator.integers(0, 40, 40)].mean(axis=0) for table in drawn.values())
        apart.append(np.abs(one - other).sum() / 2)
    low, high = np.quantile(apart, [0.025, 0.975])
    assert value == pytest.approx(np.abs(drawn[True].mean(axis=0) - drawn[False].mean(axis=0)).sum() / 2)
    assert (lo, hi) == pytest.approx((max(0.0, 2 * value - high), max(value, 2 * value - low)), abs=0.02)
    assert hi < high - 0.1


def test_little_data_do_not_make_layers_alike() -> None:
    """At a true distance of 0.3, with 20 + 20 examples and two trainings that do not differ, it holds by chance alone."""
    generator, held = np.random.default_rng(0), 0
    for _ in range(50):
        drawn = {
            noisy: np.eye(4)[generator.choice(4, size=20, p=[0.25 + d, 0.25 + d, 0.25 - d, 0.25 - d])]
            for noisy, d in ((False, 0.0), (True, 0.15))
        }
        held += same_layers(closings({"a": drawn, "b": drawn}), "").verdict == "holds"
    assert held <= 4


def test_what_trainings_differ_in_is_added() -> None:
    """Apart by 0.0 and 0.1: the mean is 0.05, and Student's half is 12.7 · 0.05."""
    found = same_layers(closings({"a": of_two_layers(0.0), "b": of_two_layers(0.1)}), "")
    assert found.interval is not None
    assert found.interval.value == pytest.approx(0.05)
    assert (found.interval.lo, found.interval.hi) == (0.0, pytest.approx(0.05 + 12.7 * 0.05, abs=0.005))
    assert verdict(found) == ("inconclusive", "for")


def test_shares_of_closings_by_layer(simulated: Simulated) -> None:
    """Every closing counts, also the seventh; an example counts once, however long its search is; repeats are averaged."""
    trial = simulated.training()
    closed = [(0, 0, True, list("aaaaaab")), (0, 1, True, list("b")), (1, 0, True, list("aa")), (1, 1, True, [])]
    closed += [
        (50, 0, False, list("ab")),
        (50, 1, False, list("abbb")),
        (51, 0, False, list("c")),
        (51, 1, False, list("c")),
    ]
    names = ("example", "repeat", "noisy", "layers")
    columns = {name: [row[i] for row in closed] for i, name in enumerate(names)}
    others = {"eligible": [True] * 8, "count": [len(row[3]) for row in closed], "censored": [False] * 8}
    config = {"max_neurons": 200, "clean": 2, "noisy": 2, "repeats": 2}
    simulated.analysis(trial, "flips", config, flips={**columns, **others})
    noisy = {"a": (6 / 7 / 2 + 1) / 2, "b": (1 / 7 + 1) / 2 / 2, "c": 0.0}
    clean = {"a": (1 / 2 + 1 / 4) / 2 / 2, "b": (1 / 2 + 3 / 4) / 2 / 2, "c": 1 / 2}
    expected = sum(abs(noisy[layer] - clean[layer]) for layer in "abc") / 2
    first = (abs(3 / 4 - 1 / 2) + 1 / 4 + 1 / 2) / 2
    found = simulated.judged()["F4"]
    assert found.ours == pytest.approx(expected)
    assert f"by the first closing alone it is {first:.3f} [" in found.reason


def read_closings(simulated: Simulated) -> Closings:
    """Of all trainings."""
    with closing(simulated.reader()) as reader:
        observations = Observations(reader)
        return Closings.read(observations, [a["analysis"] for a in observations.analyses if a["stage"] == "flips"])


def search(simulated: Simulated, trial: str, closed: list[tuple[int, int, bool, str]]) -> None:
    """closed: (example, repeat, noisy, a letter for the layer of each closing)."""
    columns = {name: [row[k] for row in closed] for k, name in enumerate(("example", "repeat", "noisy"))}
    others = {"eligible": [True] * len(closed), "count": [len(row[3]) for row in closed], "censored": [False] * len(closed)}
    layers = [list(row[3]) for row in closed]
    config = {"max_neurons": 200, "clean": 2, "noisy": 1, "repeats": 9}
    simulated.analysis(trial, "flips", config, flips={**columns, **others, "layers": layers})


def test_trainings_of_other_examples_stand_apart(simulated: Simulated) -> None:
    """Another data_seed: an example that is noisy in one training alone, or that one training alone has."""
    trials = sorted(simulated.training(data_seed=seed) for seed in (0, 1))
    search(simulated, trials[0], [(0, 0, True, "x"), (50, 0, False, "xy"), (51, 0, False, "x")])
    search(simulated, trials[1], [(50, 0, True, "y"), (51, 0, False, "x")])
    found = read_closings(simulated)
    assert (found.share.shape, found.noisy.sum(), found.layers) == ((2, 5, 2), 2, ["x", "y"])
    assert (found.trials, found.searched) == (trials, trials)
    assert shares_apart(found.share, found.noisy, stream(0, "claims", "F4")).each == pytest.approx((0.25, 1.0))


def test_a_training_with_closings_of_one_set_does_not_count(simulated: Simulated) -> None:
    """Neither do its layers, nor searches that close nothing or are not eligible."""
    trials = sorted(simulated.training(seed=seed) for seed in (0, 1))
    search(simulated, trials[0], [(0, 0, True, "x"), (50, 0, False, "yx"), (51, 0, False, "")])
    search(simulated, trials[1], [(0, 0, True, ""), (50, 0, False, "z")])
    found = read_closings(simulated)
    assert (found.trials, found.searched, found.layers) == (trials[:1], trials, ["x", "y"])
    assert found.noisy.tolist() == [True, False]
    assert found.share.tolist() == [[[1.0, 0.0], [0.5, 0.5]]]
    assert found.first.tolist() == [[[1.0, 0.0], [0.0, 1.0]]]


def test_sums_of_shares_are_exact_and_rounded_once(simulated: Simulated) -> None:
    """Searches of many lengths, whose parts 1/n are not exact: the sum of all parts, by math.fsum, over the searches."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 200, size=(9, 40))
    own = [["".join(generator.choice(list("abc"), n)) for n in of_repeat] for of_repeat in lengths]
    trial = simulated.training()
    search(simulated, trial, [(e, r, e < 10, own[r][e]) for r in range(9) for e in range(40)])
    found = read_closings(simulated)
    expected = [
        [math.fsum(1 / len(own[r][e]) for r in range(9) for layer in own[r][e] if layer == name) / 9 for name in "abc"]
        for e in range(40)
    ]
    assert found.share[0].tolist() == expected


def test_whoever_asks_for_some_settings_gets_their_rows(simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few rows a pass over the table takes: all settings, one, or again the same."""
    for width in (0.25, 0.5, 1):
        for seed in (0, 1):
            simulated.flips(
                simulated.training(width=width, seed=seed), {True: [3 + seed], False: [int(40 * width)] * 3}, repeats=2
            )
    seen = []
    for rows in (10**6, 20, 1):
        monkeypatch.setattr(read_ahead, "ROWS", rows)
        with closing(simulated.reader()) as reader:
            observations = Observations(reader)
            several = [list(s.analyses.values()) for s in observations.settings("flips")]
            found = [Searches.read(observations, of) for of in (*several, several[0])]
        seen.append([(one.trials, one.tables["count"].tolist(), one.noisy.tolist()) for one in found])
        assert sorted(one.tables["count"][:, ~one.noisy].mean() for one in found[:3]) == [10, 20, 40]
        assert found[0].tables["count"].tolist() == found[3].tables["count"].tolist()
    assert seen[0] == seen[1] == seen[2]


def test_no_interval_of_a_count_goes_below_zero() -> None:
    """Two trainings that are far apart have a wide interval, and a number of neurons is never negative."""
    own = {"a": {True: [1, 1], False: [2, 3]}, "b": {True: [3, 4], False: [30, 20]}}
    found = counts(Searches.of(searches(own), {}), "")
    for part in ("noisy", "clean"):
        interval = found[part].interval
        assert interval is not None
        assert interval.hi is not None
        assert interval.lo == 0
        assert interval.hi > 5
