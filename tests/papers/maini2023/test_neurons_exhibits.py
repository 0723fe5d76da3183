"""Figure 5 and the AUCs of §6.1 against numbers computed by loops over the simulated searches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from memloc.papers.charts import Chart, Curves, Dots, Line
from memloc.papers.maini2023.neurons import SECTION
from memloc.papers.maini2023.neurons.flips import PICTURE
from memloc.report import still
from memloc.report.drawing import drawing
from memloc.statistics.trainings import OverTrainings
from tests.papers.maini2023.simulated import Simulated

FLIPS, DETECTION, *_ = SECTION.exhibits

NAMES = {False: "clean", True: "noisy"}


class Search(NamedTuple):
    """Examples 0 to 9 are the noisy ones. left: accuracy on clean, noisy and test examples; None: not evaluated."""

    example: int
    count: int
    layers: str = "a"
    left: tuple[float, float, float] | None = (0.9, 0.5, 0.8)
    repeat: int = 0
    eligible: bool = True
    censored: bool = False

    @property
    def noisy(self) -> bool:
        return self.example < 10

    @property
    def needed(self) -> int:
        return 200 if self.censored else self.count

    @property
    def accuracy(self) -> float:
        """On 90 clean and 10 noisy examples."""
        assert self.left is not None
        return 0.9 * self.left[0] + 0.1 * self.left[1]


def search(simulated: Simulated, trial: str, searches: Sequence[Search]) -> str:
    columns = {name: [getattr(s, name) for s in searches] for name in ("example", "count", "repeat", "eligible", "censored")}
    of_left = {f"{name}_acc": [s.left and s.left[i] for s in searches] for i, name in enumerate(("clean", "noisy", "test"))}
    other = {"noisy": [s.noisy for s in searches], "layers": [list(s.layers) for s in searches]}
    sizes = {"clean": 9, "noisy": 9, "repeats": 1 + max(s.repeat for s in searches)}
    config = {"estimator": "fast", "reference": 16, "ablate": "activation", "max_neurons": 200, **sizes}
    return simulated.analysis(trial, "flips", config, flips={**columns, **of_left, **other})


OWN = {
    0: [
        Search(0, 3, "aab"),
        Search(1, 5, "b", (0.8, 0.9, 0.5)),
        Search(2, 9, "ab", None),
        Search(3, 1, "c", eligible=False),
        Search(50, 7, "ba", (0.5, 0.5, 0.5)),
        Search(51, 4, "c", (0.21, 0.3, 0.5), censored=True),
        Search(52, 5, "aaab", (0.5, 0.5, 0.5)),
    ],
    1: [
        Search(0, 5, "bb", (0.1, 0.1, 0.1)),
        Search(1, 5, "a", (0.5, 0.0, 0.5)),
        Search(50, 3, "abc", (1.0, 1.0, 1.0)),
        Search(53, 9, "cc", (0.32, 0.0, 0.1)),
    ],
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Two trainings that memorized, one that did not, and the order of layers b, a, c."""
    made = Simulated(tmp_path_factory.mktemp("neurons"), "Neurons")
    for seed, searches in OWN.items():
        search(made, made.training(seed=seed), searches)
    poor = made.training(seed=2, evaluated=0.5)
    search(made, poor, [Search(0, 99), Search(60, 99)])
    made.rewind(poor, {"b": 1.0, "a": 1.0, "c": 1.0})
    return made


def lines(chart: Chart, title: str) -> dict[str, Line]:
    assert isinstance(chart, Curves)
    assert (chart.title, chart.y_label, chart.y_range, chart.steps) == (title, "share of searches", (0.0, 1.0), True)
    return {line.name: line for line in chart.panels[""]}


def of_set(seed: int, noisy: bool) -> list[Search]:
    return [s for s in OWN[seed] if s.noisy == noisy and s.eligible]


def test_the_share_of_searches_that_need_at_most_so_many_neurons(two: Simulated) -> None:
    """A step for each count that occurs. The interval is Wilson's over distinct examples with the trainings' spread."""
    shown = two.shown(FLIPS)
    assert (len(shown.charts), shown.trainings, shown.setting) == (3, "2 trainings", "The paper's setting.")
    both = lines(shown.charts[0], "(a) Neurons")
    assert list(both) == ["clean", "noisy"]
    for noisy, name in NAMES.items():
        line = both[name]
        assert list(line.x) == [3, 5, 7, 9, 200]
        examples = {s.example for seed in OWN for s in of_set(seed, noisy)}
        found = sorted(tuple(each) for each in line.each)
        assert found == sorted(
            tuple(sum(s.needed <= x for s in of_set(seed, noisy)) / len(of_set(seed, noisy)) for x in line.x) for seed in OWN
        )
        for i, interval in enumerate(line.values):
            values = [each[i] for each in found]
            mean = sum(values) / 2
            low, high = wilson(mean, len(examples))
            seeds = stats.t.ppf(0.975, 1) * np.std(values, ddof=1) / math.sqrt(2)
            expected = (mean, max(0.0, mean - np.hypot(mean - low, seeds)), min(1.0, mean + np.hypot(high - mean, seeds)))
            assert interval == pytest.approx(expected)
    assert {row["trial"] for row in two.rows(shown.charts[0].sql)} == {row["trial"] for row in two.rows(shown.charts[2].sql)}
    assert len(two.rows(shown.charts[0].sql)) == 10


def wilson(share: float, n: int) -> tuple[float, float]:
    z = stats.norm.ppf(0.975)
    middle, half = share + z**2 / (2 * n), z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)


def test_the_share_of_searches_that_leave_at_most_so_much_training_accuracy(two: Simulated) -> None:
    """Exact at multiples of 0.02. 0.5 is one, and 0.9 · 0.21 + 0.1 · 0.3 = 0.219 is not."""
    both = lines(two.shown(FLIPS).charts[1], "(b) Accuracy left")
    for noisy, name in NAMES.items():
        line = both[name]
        assert list(line.x) == pytest.approx([0.1, 0.22, 0.3, 0.46, 0.5, 0.82, 0.86, 1.0])
        assert sorted(tuple(each) for each in line.each) == sorted(
            tuple(
                sum(s.accuracy <= x + 1e-9 for s in of_set(seed, noisy) if s.left)
                / sum(s.left is not None for s in of_set(seed, noisy))
                for x in line.x
            )
            for seed in OWN
        )


def test_shares_of_layers_are_those_of_f4(two: Simulated) -> None:
    """Each example weighs one, however long its search is; all closings count. Half the sum of differences is F4."""
    shown = two.shown(FLIPS)
    chart = shown.charts[2]
    assert isinstance(chart, Dots)
    assert (chart.title, list(chart.rows), list(chart.values), chart.x_range) == (
        "(c) Layers",
        ["b", "a", "c"],
        ["clean", "noisy"],
        (0.0, 1.0),
    )
    for noisy, name in NAMES.items():
        for layer, cell in zip(chart.rows, chart.values[name], strict=True):
            each = []
            for seed in OWN:
                shares = [s.layers.count(layer) / len(s.layers) for s in of_set(seed, noisy)]
                each.append(sum(shares) / len(shares))
            assert cell is not None
            assert sorted(cell.each) == pytest.approx(sorted(each))
            assert cell.value == pytest.approx(sum(each) / 2)
            assert (cell.printed.lo or 0.0) >= 0.0
            assert (cell.printed.hi or 1.0) <= 1.0
    apart = [
        sum(abs(c.each[k] - n.each[k]) for c, n in zip(*chart.values.values(), strict=True) if c and n) / 2 for k in (0, 1)
    ]
    (f4,) = [j for j in shown.judgements if j.claim_id == "F4"]
    assert f4.ours == pytest.approx(sum(apart) / 2)
    assert {j.id for j in shown.judgements} == {"F1.noisy", "F1.clean", "F1.ratio", "F2", "F3", "F4", "F5"}


def test_without_accuracies_or_without_one_of_the_sets(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Neurons")
    search(made, made.training(), [Search(50, 3, left=None), Search(51, 8, left=None)])
    (chart,) = made.shown(FLIPS).charts
    (line,) = lines(chart, "(a) Neurons").values()
    assert (line.name, list(line.x), [list(each) for each in line.each]) == ("clean", [3, 8], [[0.5, 1.0]])
    search(made, made.training(seed=1), [Search(0, 4, left=None), Search(50, 6, left=None)])
    curves, dots = made.shown(FLIPS).charts
    assert [list(line.x) for line in lines(curves, "(a) Neurons").values()] == [[4, 6], [4, 6]]  # one set: not comparable
    assert isinstance(dots, Dots)


def test_the_picture_is_figure_5a_of_the_nearest_setting(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Neurons")
    for width, count in ((0.25, 30), (0.5, 40)):
        search(made, made.training(dataset="digits", width=width, subset=100 if width == 0.25 else None), [Search(0, count)])
    (chart,) = made.shown(PICTURE).charts
    assert list(lines(chart, "(a) Neurons")["noisy"].x) == [40]
    assert [c.title for c in made.shown(FLIPS).charts] == [
        "(a) Neurons: width 0.5",
        "(b) Accuracy left: width 0.5",
        "(a) Neurons: width 0.25, subset 100",
        "(b) Accuracy left: width 0.25, subset 100",
    ]


# --- detection --------------------------------------------------------------------------------------------------------


def detect(
    made: Simulated, seed: int, searches: Sequence[Search], aucs: dict[str, float], evaluated: float = 1.0, **fields: int
) -> None:
    trial = made.training(seed=seed, evaluated=evaluated, **fields)
    read = search(made, trial, searches)
    names, n = list(aucs), len(aucs)
    rows = {"score": [*names, names[-1]], "sample": ["flips"] * n + ["all"], "auc": [*aucs.values(), 0.99]}
    limits = {"auc_lo": [a - 0.02 for a in rows["auc"]], "auc_hi": [min(1.0, a + 0.02) for a in rows["auc"]]}  # type: ignore[operator,type-var]
    more = {"n": [20] * (n + 1), "ap": [0.5] * (n + 1), "precision": [0.5] * (n + 1)}
    made.analysis(trial, "detection", {"scores": names}, [read], detection={**rows, **limits, **more})


def repeated(counts: Sequence[Sequence[int]]) -> list[Search]:
    """counts: by repeat, of examples 0, 1 (noisy), 50, 51, 52."""
    return [
        Search(example, count, repeat=repeat)
        for repeat, of_repeat in enumerate(counts)
        for example, count in zip((0, 1, 50, 51, 52), of_repeat, strict=True)
    ]


COUNTS = {0: [(4, 9, 5, 8, 7), (6, 1, 5, 9, 2)], 1: [(3, 7, 9, 1, 8), (2, 2, 9, 5, 8)]}
AUCS = {0: {"new": 0.6, "learning_time": 0.9, "flips": 0.7}, 1: {"new": 0.5, "learning_time": 0.8, "flips": 0.75}}


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    made = Simulated(tmp_path_factory.mktemp("detection"), "Neurons")
    for seed, counts in COUNTS.items():
        detect(made, seed, repeated(counts), AUCS[seed])
    return made


def cells(chart: Chart) -> dict[str, OverTrainings]:
    assert isinstance(chart, Dots)
    assert list(chart.values) == ["AUC"]
    return {name: cell for name, cell in zip(chart.rows, chart.values["AUC"], strict=True) if cell is not None}


def test_the_aucs_of_scores_are_the_scorecards(detected: Simulated) -> None:
    """Known scores come first. Those of the searched examples count, not those of all."""
    shown, judged = detected.shown(DETECTION), detected.judged()
    found = cells(shown.charts[0])
    assert shown.charts[0].title == "Scores"
    assert list(found) == ["neurons to flip, averaged", "neurons to flip", "learning time", "new"]
    for name, part in (
        ("neurons to flip, averaged", "flips"),
        ("neurons to flip", "flips.single"),
        ("learning time", "learning_time"),
    ):
        assert found[name].printed == judged[f"D1.{part}"].interval
    assert found["new"].value == pytest.approx(0.55)
    assert [j.part for j in shown.judgements] == ["flips", "flips.single", "learning_time"]
    assert len(detected.rows(shown.charts[0].sql)) == 2 * 4
    assert "…" not in still.drawn(drawing(shown.charts[0]), 500).body  # no name is cut off


def test_the_auc_grows_with_what_is_averaged(detected: Simulated) -> None:
    """Draws are ordered by seed, then repeat; against scikit-learn. The last one is D1's."""
    chart = detected.shown(DETECTION).charts[1]
    assert isinstance(chart, Curves)
    assert (chart.title, chart.rule) == ("Neurons to flip", (0.5, "guessing"))
    (line,) = chart.panels[""]
    draws = [counts for seed in sorted(COUNTS) for counts in COUNTS[seed]]
    noisy = [True, True, False, False, False]
    expected = [roc_auc_score(noisy, -np.mean(draws[:k], axis=0)) for k in (1, 2, 3, 4)]
    assert (list(line.x), list(line.each[0]), len(line.each)) == ([1, 2, 3, 4], pytest.approx(expected), 1)
    assert [v and (v.value, v.lo, v.hi) for v in line.values] == [(pytest.approx(e), None, None) for e in expected]
    assert detected.judged()["D1.flips"].ours == pytest.approx(expected[-1])
    assert len(set(np.round(expected, 6))) > 2


def test_draws_of_another_data_seed_are_another_line(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Neurons")
    for data_seed, counts in COUNTS.items():
        detect(made, 0, repeated(counts), AUCS[data_seed], data_seed=data_seed)
    search(made, made.training(seed=5, width=0.5), repeated([(1, 1, 9, 9, 9)] * 3))  # of another setting
    chart = made.shown(DETECTION).charts[1]
    assert isinstance(chart, Curves)
    (line,) = chart.panels[""]
    noisy = [True, True, False, False, False]
    expected = [[roc_auc_score(noisy, -np.mean(c[:k], axis=0)) for k in (1, 2)] for c in COUNTS.values()]
    assert np.array(sorted(list(each) for each in line.each)) == pytest.approx(np.array(sorted(expected)))
    assert [v and v.value for v in line.values] == pytest.approx(np.mean(expected, axis=0).tolist())


def test_with_one_search_each_there_is_nothing_to_average(tmp_path: Path) -> None:
    """Nor where another training did not memorize: D1 leaves it out."""
    made = Simulated(tmp_path, "Neurons")
    detect(made, 0, repeated(COUNTS[0][:1]), AUCS[0])
    (chart,) = made.shown(DETECTION).charts
    assert list(cells(chart)) == ["neurons to flip", "learning time", "new"]
    detect(made, 1, repeated(COUNTS[1][:1]), AUCS[1], evaluated=0.5)
    shown = made.shown(DETECTION)
    assert cells(shown.charts[0])["learning time"].each == (0.9,)
    assert shown.trainings == "1 training"


def test_without_searches_the_scores_of_all_examples_are_shown(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Neurons")
    rows = {"score": ["aum", "learning_time"], "sample": ["all"] * 2, "auc": [0.3, 0.8], "n": [100] * 2}
    made.analysis(
        made.training(), "detection", {"scores": ["aum"]}, detection={**rows, "ap": [0.5] * 2, "precision": [0.5] * 2}
    )
    (chart,) = made.shown(DETECTION).charts
    assert {name: auc.value for name, auc in cells(chart).items()} == {"learning time": 0.8, "area under the margin": 0.3}
    assert made.judged()["D1.learning_time"].ours == 0.8


# --- the sentence -----------------------------------------------------------------------------------------------------


def test_the_sentence_has_the_scorecards_numbers(detected: Simulated) -> None:
    judged = detected.judged()
    counts = {part: judged[f"F1.{part}"] for part in ("noisy", "clean", "ratio")}
    found = {part: judged[f"D1.{part}"] for part in ("flips", "flips.single", "learning_time")}
    noisy, clean, ratio = (counts[part].printed(2) for part in ("noisy", "clean", "ratio"))
    flips, single, time = (found[part].printed(2) for part in ("flips", "flips.single", "learning_time"))
    text = SECTION.sentence({"F1": counts, "D1": found})
    assert text == (
        f"On average, closing {noisy} neurons flips a noisy example, and {clean} a clean one (ratio {ratio}). The number of "
        f"neurons finds the mislabeled examples with an AUC of {single}; learning time finds them with {time}."
    )
    assert len({noisy, clean, ratio, flips, single, time}) == 6
    alone = SECTION.sentence({"D1": {"flips.single": found["flips.single"]}})
    assert alone == f"The number of neurons finds the mislabeled examples with an AUC of {single}."
    averaged = SECTION.sentence({"D1": {"flips": found["flips"]}})
    words = f"averaged over {found['flips'].seeds} trainings, finds the mislabeled examples with an AUC of {flips}"
    assert averaged == f"The number of neurons, {words}."
    assert SECTION.sentence({"F2": {"": judged["F2"]}}) == ""
    assert "ratio" not in SECTION.sentence({"F1": {k: v for k, v in counts.items() if k != "ratio"}})
