"""Figures 3, 4, 15 to 18, and 8, 9 and 19 of atypical examples, against numbers read off the simulated tables by loops."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memloc import sweep
from memloc.papers.charts import Chart, Curves, Dots, Line
from memloc.papers.exhibits import Exhibit
from memloc.papers.maini2023 import PAPER, atypical, layers
from memloc.papers.maini2023.layers.rewinding import PICTURE
from memloc.papers.paper import Section
from memloc.stages import REGISTRY
from tests.papers.maini2023.simulated import Simulated

REWINDING, RETRAINING, *_ = layers.SECTION.exhibits
ATYPICAL_NORMS, *ATYPICAL = atypical.SECTION.exhibits

LAYERS = ("stem", "block", "another", "head")  # of the network, in an order that is not the alphabet's
BY_SCORE = {"memorized": "c_score:scores.npz", "c_score_below": 0.5}
Accuracies = Mapping[tuple[str, int], tuple[float, float]]  # {(layer, epoch): (clean, noisy)}


@pytest.fixture
def made(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def accuracies(seed: int, epochs: Sequence[int], last: int | None = 50, names: Sequence[str] = LAYERS) -> Accuracies:
    """All different; 1 at the last epoch."""
    generator = np.random.default_rng(seed)
    drawn = {(layer, e): (generator.uniform(0.5, 0.9), generator.uniform(0.1, 0.8)) for e in epochs for layer in names}
    return drawn | {(layer, last): (1.0, 1.0) for layer in names if last is not None}


def analyse(made: Simulated, trial: str, stage: str, given: Accuracies, **config: Any) -> None:
    """Rows of rewind or retrain."""
    columns = {
        "layer": [layer for layer, _ in given],
        "epoch": [epoch for _, epoch in given],
        "clean_acc": [clean for clean, _ in given.values()],
        "noisy_acc": [noisy for _, noisy in given.values()],
    }
    epochs = sorted({epoch for _, epoch in given})
    usual = {"epochs": epochs, "buffers": "final"} if stage == "rewind" else {"epochs": 20, "peak_epoch": 10, "lr": 0.1}
    made.analysis(trial, stage, {**usual, **config}, **{stage: columns})


def curves(chart: Chart) -> Curves:
    assert isinstance(chart, Curves)
    assert (chart.y_label, chart.y_range, chart.log_y, chart.steps) == ("accuracy", (0.0, 1.0), False, False)
    return chart


def lines(chart: Chart, panel: str = "") -> dict[str, Line]:
    return {line.name: line for line in curves(chart).panels[panel]}


def ours(line: Line) -> list[float]:
    return [value.value for value in line.values if value is not None]


def wilson(share: float, n: int) -> tuple[float, float]:
    """By the formula: shares of examples need not be whole."""
    z = stats.norm.ppf(0.975)
    middle, half = share + z * z / (2 * n), z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return float((middle - half) / (1 + z * z / n)), float((middle + half) / (1 + z * z / n))


def limits(line: Line, k: int) -> tuple[float | None, float | None]:
    value = line.values[k]
    assert value is not None
    return value.lo, value.hi


# --- training -----------------------------------------------------------------------------------------------------------


def test_learning_curves_of_every_training(made: Simulated) -> None:
    """Beside those of the same setting that were not rewound, and of other settings."""
    given = {}
    for seed in (0, 1, 2):
        columns = {name: np.linspace(0.1 * seed, 0.9, 50).tolist() for name in ("clean_acc", "test_acc")}
        columns["test_acc"] = [v / 2 for v in columns["test_acc"]]
        trial = made.training(seed=seed, curves=columns)
        given[trial] = (columns["clean_acc"], [*np.clip((np.arange(1, 51) - 11.6) * 0.06, 0, 1)], columns["test_acc"])
        if seed < 2:
            analyse(made, trial, "rewind", accuracies(seed, [0, 10]))
    trials = sorted(list(given)[:2])
    for chart in [shown.charts[0] for shown in made.drawn(REWINDING, PICTURE)]:
        shown = lines(chart)
        assert (curves(chart).title, curves(chart).x_label, list(shown)) == ("Training", "epoch", ["clean", "noisy", "test"])
        for k, line in enumerate(shown.values()):
            assert list(line.x) == list(range(1, 51))
            assert [list(values) for values in line.each] == [pytest.approx(given[t][k]) for t in trials]
            assert ours(line) == pytest.approx(np.mean([given[t][k] for t in trials], axis=0))
        rows = made.rows(chart.sql)
        assert [(r["trial"], r["epoch"]) for r in rows] == [(t, e) for t in trials for e in range(1, 51)]
        assert {r["test_acc"] for r in rows} == {v for values in shown["test"].each for v in values}


def test_intervals_of_learning_curves_are_over_distinct_examples(made: Simulated) -> None:
    """200 examples of which 60 are mislabeled, and the 10,000 test images. Two data_seeds have twice as many."""
    columns = {"clean_acc": [0.8] * 50, "test_acc": [0.7] * 50}
    setting = {"n": 200, "noise": 0.3, "noisy_acc": [0.4] * 50, "curves": columns}
    for fields, examples in (({}, (140, 60)), ({"seed": 1}, (140, 60)), ({"data_seed": 1}, (280, 120))):
        analyse(made, made.training(**setting, **fields), "rewind", accuracies(0, [0]))
        shown = lines(made.drawn(REWINDING)[0].charts[0])
        for name, share, n in zip(shown, (0.8, 0.4, 0.7), (*examples, 10_000), strict=True):
            assert limits(shown[name], 7) == pytest.approx(wilson(share, n)), name


@pytest.mark.parametrize("exhibit", [REWINDING, RETRAINING])
def test_intervals_count_the_examples_of_the_trainings_that_have_a_value_there(made: Simulated, exhibit: Exhibit) -> None:
    """The other one's mislabeled examples are others, and it has one epoch less."""
    setting = {"n": 200, "noise": 0.3, "noisy_acc": [0.4] * 50}
    stage = "rewind" if exhibit is REWINDING else "retrain"
    for data_seed, epochs in enumerate(((20, 30), (30,))):
        given = {(layer, epoch): (0.8, 0.4) for layer in LAYERS for epoch in epochs}
        analyse(made, made.training(**setting, data_seed=data_seed), stage, given)
    shown = lines(made.drawn(exhibit)[0].charts[-1], "block")
    for name, share, n in (("clean", 0.8, 140), ("noisy", 0.4, 60)):
        assert list(shown[name].x) == [20, 30]
        assert limits(shown[name], 0) == pytest.approx(wilson(share, n))
        assert limits(shown[name], 1) == pytest.approx(wilson(share, 2 * n))


# --- rewinding ----------------------------------------------------------------------------------------------------------


def test_a_panel_per_layer_over_the_epoch_rewound_to(made: Simulated) -> None:
    """In the network's order. A training without an epoch has no value there."""
    given = {made.training(seed=seed): accuracies(seed, [20, 0, 10][: 3 - (seed == 2)]) for seed in range(3)}
    for trial, cells in given.items():
        analyse(made, trial, "rewind", cells)
    shown = made.shown(REWINDING)
    training, rewinding = map(curves, shown.charts)
    assert (training.title, rewinding.title) == ("Training", "One layer set back")
    assert rewinding.x_label == "epoch that the layer is set back to"
    assert list(rewinding.panels) == list(LAYERS)
    for layer in LAYERS:
        for k, (name, line) in enumerate(lines(rewinding, layer).items()):
            assert name == ("clean", "noisy")[k]
            assert list(line.x) == [0, 10, 20, 50]
            for values, trial in zip(line.each, sorted(given), strict=True):
                assert list(values) == [given[trial].get((layer, e), (None, None))[k] for e in (0, 10, 20, 50)]
            means = [np.mean([c[layer, e][k] for c in given.values() if (layer, e) in c]) for e in (0, 10, 20, 50)]
            assert ours(line) == pytest.approx(means)
    assert len(made.rows(rewinding.sql)) == sum(map(len, given.values()))
    assert (shown.setting, shown.trainings) == ("The paper's setting.", "3 trainings")
    assert [j.id for j in shown.judgements] == ["L1.cifar10", "W1.cifar10", "W2.cifar10"]


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_figures_and_the_scorecard_have_one_estimate_of_a_cell(made: Simulated, seeds: int) -> None:
    """W1's number is in Figure 3, and in the picture where it is of one of the earliest epochs, to the last digit."""
    for seed in range(seeds):
        cells = {**accuracies(seed, [0, 10, 12, 20]), ("head", 0): (0.9, 0.05 + 0.02 * seed)}
        analyse(made, made.training(seed=seed, n=2000), "rewind", cells)
    judged = made.judged()["W1.cifar10"]
    assert "after rewinding head to epoch 0;" in judged.reason
    (_, rewinding), (_, dots) = (shown.charts for shown in made.drawn(REWINDING, PICTURE))
    assert lines(rewinding, "head")["noisy"].values[0] == (judged.ours, judged.lo, judged.hi)
    assert isinstance(dots, Dots)
    assert list(dots.values) == ["set back to epoch 0", "set back to epoch 10"]
    for k, cells in enumerate(dots.values.values()):
        for layer, cell in zip(dots.rows, cells, strict=True):
            assert cell is not None
            assert cell.printed == lines(rewinding, layer)["noisy"].values[k]


def test_two_trainings_share_their_spread_in_the_cells_of_before_the_climb(made: Simulated) -> None:
    """Noisy accuracy reaches 20 % at epoch 15. Cells of later epochs, and of clean examples, have their own spread."""
    both = [accuracies(seed, [0, 10, 20]) for seed in (3, 4)]
    for seed, cells in enumerate(both):
        analyse(made, made.training(seed=seed, n=2000), "rewind", cells)

    def logit(p: Any) -> Any:
        return np.log(p / (1 - p))

    pairs = {name: [cells[name][1] for cells in both] for name in both[0]}
    early = [np.var(logit(np.array(v)), ddof=1) for (_, epoch), v in pairs.items() if epoch < 15]
    half = stats.t.ppf(0.975, len(early)) * np.sqrt(np.mean(early) / 2)
    shared = 0
    _, rewinding = made.drawn(REWINDING)[0].charts
    for layer in LAYERS:
        line = lines(rewinding, layer)["noisy"]
        for k, epoch in enumerate((0, 10)):
            mean = float(np.mean(pairs[layer, epoch]))
            own = np.var(logit(np.array(pairs[layer, epoch])), ddof=1)
            if own <= 4 * (sum(early) - own) / (len(early) - 1):
                shared += 1
                ends = [np.hypot(logit(mean) - logit(limit), half) for limit in wilson(mean, 200)]
                expected = logit(mean) - ends[0], logit(mean) + ends[1]
                assert [logit(v) for v in limits(line, k)] == pytest.approx(expected)
        for name, k in (("noisy", 1), ("clean", 0)):
            values = [cells[layer, 20][k] for cells in both]
            mean, n = float(np.mean(values)), (200, 1800)[name == "clean"]
            t = stats.t.ppf(0.975, 1) * np.std(values, ddof=1) / np.sqrt(2)
            lo, hi = wilson(mean, n)
            expected = max(0.0, mean - np.hypot(mean - lo, t)), min(1.0, mean + np.hypot(hi - mean, t))
            assert limits(lines(rewinding, layer)[name], 2) == pytest.approx(expected)
    assert shared >= 6


def test_without_mislabeled_examples_there_is_no_line_of_them(made: Simulated) -> None:
    columns = {"layer": ["a", "b"], "epoch": [0, 0], "clean_acc": [0.5, 0.6]}
    trial = made.training(noise=0.0, evaluated=None, curves={"clean_acc": [0.5] * 50})
    made.analysis(trial, "rewind", {"epochs": [0], "buffers": "final"}, rewind=columns)
    (training, rewinding), picture = (shown.charts for shown in made.drawn(REWINDING, PICTURE))
    assert list(lines(training)) == ["clean"]
    assert [list(lines(rewinding, layer)) for layer in ("a", "b")] == [["clean"], ["clean"]]
    assert picture == [training]


def test_all_of_the_papers_settings_have_their_charts_once(made: Simulated) -> None:
    """Three data sets, three networks and three noise rates. Other rates and data are not shown beside them."""
    for dataset in ("svhn", "cifar10", "mnist"):
        for model in ("vit_small", "resnet9", "resnet50"):
            for noise in (0.2, 0.05, 0.1):
                trial = made.training(dataset=dataset, model=model, noise=noise, n=20, evaluated=None)
                analyse(made, trial, "rewind", accuracies(0, [0], names=("a", "b")))
                if model == "resnet9":
                    analyse(made, trial, "retrain", accuracies(0, [0, 1], None))
    for fields in ({"noise": 0.3}, {"dataset": "digits"}, {"dropout": "standard", "keep": 0.4}):
        trial = made.training(n=20, evaluated=None, **fields)
        analyse(made, trial, "rewind", accuracies(0, [0], names=("a",)))
        analyse(made, trial, "retrain", accuracies(0, [0, 1], None))
    tells = [
        f"{dataset}, {model}, {noise} % noise"
        for dataset in ("CIFAR-10", "MNIST", "SVHN")
        for model in ("ResNet-9", "ResNet-50", "ViT-small")
        for noise in (5, 10, 20)
    ]
    shown, retraining, picture = made.drawn(REWINDING, RETRAINING, PICTURE)
    kinds = ("Training", "One layer set back")
    assert [chart.title for chart in shown.charts] == [f"{kind}: {tell}" for tell in tells for kind in kinds]
    assert (shown.left_out, shown.setting, shown.trainings) == (2, "The paper's setting.", "1 training each")
    assert [chart.title for chart in retraining.charts] == [t.replace("ResNet-9, ", "") for t in tells if "ResNet-9" in t]
    assert (retraining.left_out, retraining.setting) == (2, "The paper's setting.")
    assert [chart.title for chart in picture.charts] == list(kinds)
    assert (picture.setting, PICTURE.claims) == ("The paper's setting.", ())
    wanted = made.rows("SELECT trial FROM trials WHERE dataset = 'cifar10' AND model = 'resnet9' AND noise = 0.1 "
                       "AND dropout = 'none'")  # fmt: skip
    assert {r["trial"] for r in made.rows(picture.charts[0].sql)} == {wanted[0]["trial"]}


def test_other_data_stand_in(made: Simulated) -> None:
    """The picture takes the paper's network and rate on other data, and shows one setting of them."""
    for fields in ({"noise": 0.05}, {"width": 0.5}, {}):
        analyse(made, made.training(dataset="fashion_mnist", **fields), "rewind", accuracies(0, [0]))
    shown, picture = made.drawn(REWINDING, PICTURE)
    assert (len(shown.charts), picture.left_out) == (6, 2)
    assert picture.setting == "Not the paper's setting: Fashion-MNIST in place of CIFAR-10."
    assert [chart.title for chart in picture.charts] == ["Training", "One layer set back"]
    assert {r["noise"] for r in made.rows(f"SELECT noise FROM ({picture.charts[0].sql}) JOIN trials USING (trial)")} == {0.1}


# --- the picture --------------------------------------------------------------------------------------------------------


def test_the_picture_has_what_is_left_by_layer_after_rewinding_to_the_earliest_epochs(made: Simulated) -> None:
    """Two of them, before the climb, that all trainings have: the second training was not rewound to epoch 2."""
    given = [accuracies(0, [0, 2, 5, 10, 20]), accuracies(1, [0, 5, 10, 20])]
    for seed, cells in enumerate(given):
        analyse(made, made.training(seed=seed), "rewind", cells)
    _, dots = made.drawn(PICTURE)[0].charts
    assert isinstance(dots, Dots)
    assert (dots.title, dots.x_label, dots.x_range) == ("One layer set back", "noisy accuracy left", (0.0, 1.0))
    assert list(dots.rows) == list(LAYERS)
    assert list(dots.values) == ["set back to epoch 0", "set back to epoch 5"]
    for epoch, cells in zip((0, 5), dots.values.values(), strict=True):
        for layer, cell in zip(LAYERS, cells, strict=True):
            assert cell is not None
            assert sorted(cell.each) == pytest.approx(sorted(g[layer, epoch][1] for g in given))
            assert cell.value == pytest.approx(np.mean([g[layer, epoch][1] for g in given]))
    assert len(made.rows(dots.sql)) == sum(map(len, given))


def test_without_early_epochs_the_picture_has_learning_curves_alone(made: Simulated) -> None:
    analyse(made, made.training(), "rewind", accuracies(0, [20, 30]))
    picture, shown = made.drawn(PICTURE, REWINDING)
    assert [chart.title for chart in picture.charts] == ["Training"]
    assert len(shown.charts) == 2


# --- retraining ---------------------------------------------------------------------------------------------------------


def test_a_panel_per_layer_over_the_epochs_of_retraining(made: Simulated) -> None:
    """From epoch 0 on, before the layer is trained. A retraining may end early."""
    given = {made.training(seed=seed): accuracies(seed, range(4 - seed), None) for seed in (0, 1)}
    for trial, cells in given.items():
        analyse(made, trial, "retrain", cells)
    shown = made.shown(RETRAINING)
    (chart,) = shown.charts
    assert (curves(chart).title, curves(chart).x_label) == ("", "epoch of retraining")
    assert list(curves(chart).panels) == list(LAYERS)
    for layer in LAYERS:
        assert list(lines(chart, layer)) == ["clean", "noisy"]
        for k, line in enumerate(lines(chart, layer).values()):
            assert list(line.x) == [0, 1, 2, 3]
            for values, trial in zip(line.each, sorted(given), strict=True):
                assert list(values) == [given[trial].get((layer, e), (None, None))[k] for e in range(4)]
            assert ours(line) == pytest.approx(
                [np.mean([c[layer, e][k] for c in given.values() if (layer, e) in c]) for e in range(4)]
            )
    assert len(made.rows(chart.sql)) == sum(map(len, given.values()))
    assert [j.id for j in shown.judgements] == ["R1.cifar10"]


def test_the_rows_of_a_retrainings_estimate_are_those_of_its_sql(made: Simulated) -> None:
    """Best and last by DuckDB, whatever the order in which the rows were written."""
    backwards = [("res2.conv1", [1.0, 0.02, 0.85, 0.04]), ("conv1", [1.0, 0.95, 0.3, 0.5]), ("head", [1.0, 0.5, 0.4, 0.3])]
    for seed in (0, 1):
        given = {(layer, e): (0.9, values[e] + seed / 100) for layer, values in backwards for e in (3, 1, 2, 0)}
        analyse(made, made.training(dataset="mnist", seed=seed), "retrain", given)
    judged = made.judged()
    rows = made.rows(judged["R1.mnist"].sql)
    assert len(rows) == 6
    best = [np.mean([r["best"] for r in rows if r["layer"] == layer]) for layer, _ in backwards]
    assert judged["R1.mnist"].ours == pytest.approx(np.mean([b >= 0.9 for b in best])) == pytest.approx(1 / 3)
    own = [r for r in rows if r["layer"] == "res2.conv1"]
    assert judged["R2.mnist.during"].ours == pytest.approx(np.mean([r["best"] for r in own])) == pytest.approx(0.855)
    assert judged["R2.mnist.end"].ours == pytest.approx(np.mean([r["final"] for r in own])) == pytest.approx(0.045)
    shown = made.shown(RETRAINING)
    line = lines(shown.charts[0], "res2.conv1")["noisy"]
    end = judged["R2.mnist.end"]
    assert line.values[-1] == (end.ours, end.lo, end.hi)
    assert [j.id for j in shown.judgements] == ["R1.mnist", "R2.mnist.during", "R2.mnist.end"]


# --- atypical examples --------------------------------------------------------------------------------------------------


def test_atypical_examples_have_figures_of_their_own(made: Simulated) -> None:
    """The sets are named as they are, and analyses by label are in other figures."""
    trial = made.training(noise=0.0, evaluated=None)
    made.gradients(trial, clean=2.0, noisy=3.0, last=5.0, **BY_SCORE)
    rewound, retrained = accuracies(0, [0, 10]), accuracies(1, range(3), None)
    analyse(made, trial, "rewind", rewound, **BY_SCORE)
    analyse(made, trial, "retrain", retrained, lr=0.2, **BY_SCORE)  # the scorecard names A1 by its gradients all the same
    figures = atypical.SECTION.exhibits
    alone = made.drawn(*figures)
    other = made.training()
    made.gradients(other)
    analyse(made, other, "rewind", rewound)
    analyse(made, other, "retrain", retrained)
    assert [shown.charts for shown in made.drawn(*figures)] == [shown.charts for shown in alone]
    norms, rewinding, retraining = (shown.charts[0] for shown in alone)
    assert isinstance(norms, Dots)
    assert list(norms.values) == ["typical", "atypical", "total", "control"]
    values = [[cell and cell.value for cell in norms.values[name]] for name in ("typical", "atypical")]
    assert values == [pytest.approx([2.0, 2.0]), pytest.approx([3.0, 5.0])]
    axes = ("epoch that the layer is set back to", "epoch of retraining")
    for chart, given, axis in zip((rewinding, retraining), (rewound, retrained), axes, strict=True):
        assert (curves(chart).title, curves(chart).x_label, list(curves(chart).panels)) == ("", axis, list(LAYERS))
        for layer in LAYERS:
            for k, (name, line) in enumerate(lines(chart, layer).items()):
                assert name == ("typical", "atypical")[k]
                epochs = sorted({e for _, e in given})
                assert list(line.x) == epochs
                assert [list(v) for v in line.each] == [[given[layer, e][k] for e in epochs]]
                assert all(v and (v.lo, v.hi) == (None, None) for v in line.values)  # how many they are is not known
    parts = ("gradients", "rewind", "retrain")
    assert [j.id for j in made.shown(figures[0]).judgements] == [f"A1.cifar10.{part}" for part in parts]
    assert [figure.claims for figure in figures[1:]] == [(), ()]
    assert {shown.setting for shown in alone[:2]} == {"The paper's setting."}
    assert alone[2].setting == "Not the paper's setting: retrain.lr 0.2 (the paper's: 0.1)."
    assert made.drawn(REWINDING)[0].trainings == "1 training"


def test_figure_9_is_of_cifar10_and_the_others_of_mnist_too(made: Simulated) -> None:
    for fields in ({"dataset": "mnist"}, {}, {"dataset": "svhn"}, {"model": "resnet50"}, {"noise": 0.2}):
        trial = made.training(**{"noise": 0.0, "evaluated": None, **fields})
        made.gradients(trial, **BY_SCORE)
        analyse(made, trial, "rewind", accuracies(0, [0]), **BY_SCORE)
        analyse(made, trial, "retrain", accuracies(0, [0, 1], None), **BY_SCORE)
    titles = [[chart.title for chart in shown.charts] for shown in made.drawn(*atypical.SECTION.exhibits)]
    assert titles == [["CIFAR-10", "MNIST"], [""], ["CIFAR-10", "MNIST"]]


def test_gradients_at_checkpoints_stand_in_for_atypical_examples_too(made: Simulated) -> None:
    made.gradients(made.training(noise=0.0, evaluated=None), at="checkpoint", epochs=[0, 10], **BY_SCORE)
    assert [chart.title for chart in made.drawn(ATYPICAL_NORMS)[0].charts] == ["at checkpoints"]


# --- sections -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", [layers.SECTION, atypical.SECTION])
def test_the_commands_run_the_stages_of_their_figures(section: Section) -> None:
    """And each of the settings that the paper's figure has, after C-scores where it needs them."""
    stages = {"fig04": "retrain", "fig08": "gradients", "fig19": "retrain", "width-retraining": "retrain"}
    exhibits = [*section.exhibits, *([PICTURE] if section is layers.SECTION else [])]
    for exhibit in exhibits:
        assert exhibit.first == ("memloc sweep cscore" if section is atypical.SECTION else "")
        entries = selected(exhibit)
        trained = [e.config for e in entries if stages.get(exhibit.id, "rewind") in {r.stage for r in e.requests}]
        for name, wanted in (
            ("dataset", exhibit.wanted.datasets),
            ("model", exhibit.wanted.models or ("resnet9", "resnet50", "vit_small")),
            ("noise", exhibit.wanted.noises or ()),
        ):
            there = {getattr(config, name) for config in trained}
            assert there >= set(wanted), (exhibit.id, name)
            assert there <= set(wanted) or section is atypical.SECTION, (exhibit.id, name)


def selected(exhibit: Exhibit) -> Any:
    words = shlex.split(exhibit.command)
    assert words[:2] == ["memloc", "sweep"]
    return sweep.only(sweep.load(sweep.shipped()[words[2]], REGISTRY).entries, words[4::2], REGISTRY)


def test_the_sentences_have_the_scorecards_numbers(made: Simulated) -> None:
    for seed in (0, 1):
        trial = made.training(seed=seed)
        analyse(made, trial, "rewind", {**accuracies(seed, [0, 10]), ("stem", 0): (1.0, 1.0), ("head", 0): (1.0, 1.0)})
        analyse(made, trial, "retrain", {**accuracies(seed, [0, 1], None), ("stem", 1): (1.0, 1.0), ("head", 1): (1.0, 1.0)})
        plain = made.training(seed=seed, noise=0.0, evaluated=None)
        made.gradients(plain, noisy=1.25, **BY_SCORE)
        analyse(made, plain, "rewind", accuracies(0, [0]), **BY_SCORE)
        analyse(made, plain, "retrain", {("a", 1): (1.0, 0.95), ("b", 1): (1.0, 0.5 - seed / 100)}, **BY_SCORE)
    judged = made.judged()
    kept, reached = ({claim: {"": judged[f"{claim}.cifar10"]}} for claim in ("L1", "R1"))
    parts = {part: judged[f"A1.cifar10.{part}"] for part in ("gradients", "rewind", "retrain")}
    ratio, again = ({"A1": {part: parts[part]}} for part in ("gradients", "retrain"))
    assert (judged["L1.cifar10"].ours, judged["R1.cifar10"].ours) == (0.25, 0.5)
    assert (parts["gradients"].ours, parts["retrain"].ours) == pytest.approx((1.25, 0.5))
    for say, one, other in ((layers.SECTION.sentence, kept, reached), (atypical.SECTION.sentence, ratio, again)):
        assert say({**one, **other, "A1": parts}) == f"{say(one)} {say(other)}"
        for given in (one, other):
            ((number,),) = (numbers.values() for numbers in given.values())
            printed = re.findall(r"[\d.]+ \[[\d.]+, [\d.]+\]", say(given))
            assert printed == [number.printed(2)]
        assert say({}) == ""
    assert atypical.SECTION.sentence({"A1": {"rewind": parts["rewind"]}}) == ""


def test_the_sections_of_the_paper() -> None:
    names = [section.name for section in PAPER.sections]
    assert [n for n in names if n in ("Gradients", "Layers", "Atypical examples")] == [
        "Gradients",
        "Layers",
        "Atypical examples",
    ]
    assert names[-1] == "Atypical examples"
    assert [claim.id for claim in layers.SECTION.claims] == ["L1", "W1", "W2", "W3", "R1", "R2"]
    assert [exhibit.id for exhibit in layers.SECTION.exhibits] == ["fig03", "fig04", "width-rewinding", "width-retraining"]
    assert [exhibit.id for exhibit in atypical.SECTION.exhibits] == ["fig08", "fig09", "fig19"]
    assert PAPER.pictures[0] is PICTURE


@pytest.mark.parametrize("by_score", [False, True])
def test_figures_show_the_trainings_that_are_judged(made: Simulated, by_score: bool) -> None:
    """One has not memorized. So rewinding to the last epoch leaves half of the noisy accuracy."""
    more: dict[str, Any] = BY_SCORE if by_score else {}
    for seed, last in ((0, 1.0), (1, 1.0), (2, 0.5)):
        trial = made.training(seed=seed, noise=0.0 if by_score else 0.1, evaluated=None)
        cells = {**accuracies(seed, [0, 10]), **{(layer, 50): (1.0, last) for layer in LAYERS}}
        analyse(made, trial, "rewind", cells, **more)
        analyse(made, trial, "retrain", accuracies(seed, [0, 1, 2], None), **more)
    exhibits = ATYPICAL if by_score else (REWINDING, RETRAINING, PICTURE)
    for exhibit in exhibits:
        shown = made.shown(exhibit)
        assert shown.trainings == "2 trainings", exhibit.id
        assert {j.seeds for j in shown.judgements} <= {2}
