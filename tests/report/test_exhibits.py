"""Every exhibit's numbers against whole tables, by pandas; every query as a user would type it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats
from sklearn.metrics import roc_auc_score

from memloc import sweep as sweeps
from memloc.api import OpenStore
from memloc.data import load
from memloc.report import dropout_tables, forgotten_figure, gradient_figures, layer_figures, neuron_figures, noise_figure
from memloc.report.charts import Curves, Dots, Exhibit, Gallery, Heat
from memloc.report.exhibits import EXHIBITS, SECTIONS, section_of
from memloc.report.source import Source
from memloc.stages import REGISTRY
from memloc.statistics import Interval
from memloc.store import Commit, Store
from memloc.sweep import shipped
from tests.report.conftest import altered, source_of

GROUPS = ["conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear"]


def table(source: Source, name: str) -> pd.DataFrame:
    """A whole table with its trainings' columns."""
    opened = OpenStore(source.reader.store)
    return opened.pandas(name).merge(opened.pandas("trials"), on="trial", suffixes=("", "_of_trial"))


def plain(frame: pd.DataFrame, noise: float = 0.1) -> pd.DataFrame:
    return frame[(frame.noise == noise) & (frame.dropout == "none")]


def with_epochs(frame: pd.DataFrame, source: Source, most: bool) -> pd.DataFrame:
    """The rows of the analyses that look at six epochs, or at three."""
    configs = OpenStore(source.reader.store).pandas("analyses").set_index("analysis").config
    return frame[[(len(json.loads(configs[a])["epochs"]) > 3) == most for a in frame.analysis]]


def value(interval: Interval | None) -> float:
    assert interval is not None
    return interval.value


@pytest.fixture(scope="module")
def made(drawn: Sequence[Exhibit]) -> Mapping[str, Exhibit]:
    return {e.id: e for e in drawn}


def test_every_figure_and_table_of_the_paper_is_there_once(made: Mapping[str, Exhibit]) -> None:
    figures = {f"fig{n:02d}" for n in range(1, 20)} - {"fig06"}  # Figure 6 is a drawing
    assert set(made) == figures | {"table1", "table2", "table3", "detection"}
    assert len(made) == len(EXHIBITS)
    assert {section_of(e) for e in made.values()} == set(SECTIONS)


def test_what_has_data_is_drawn_and_the_rest_says_what_would_run_it(made: Mapping[str, Exhibit]) -> None:
    missing = {name for name, e in made.items() if not e.run}
    assert missing == {"fig08", "fig09", "fig13", "fig14", "fig16", "fig17", "fig19"}
    for exhibit in made.values():
        assert exhibit.command.startswith("memloc sweep ")
        assert exhibit.run == bool(exhibit.seeds)
        assert exhibit.run == exhibit.stands_in == exhibit.setting.startswith("Not the paper's setting: digits in place of ")
        more = ", max_neurons 20 (200)" if exhibit.id == "fig05" else ""
        assert exhibit.run == exhibit.setting.endswith(
            f"; subset 120 (the paper's: all), width 0.0625 (1), epochs 10 (50), batch_size 32 (512){more}."
        )


def test_the_queries_can_be_typed(made: Mapping[str, Exhibit], source: Source) -> None:
    for exhibit in made.values():
        assert exhibit.sql, exhibit.id
        for sql in exhibit.sql:
            rows = source.reader.sql(sql).num_rows
            assert (rows > 0) == exhibit.run or exhibit.id in ("fig13", "fig14", "fig16", "fig17"), exhibit.id


def test_figure_1_is_the_mean_over_the_early_epochs(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = plain(table(source, "gradients"))
    rows = rows[rows.epoch.isin([3, 4])]  # 0.3·10 to 0.4·10
    (chart,) = made["fig01"].charts
    assert isinstance(chart, Dots)
    assert list(chart.rows) == GROUPS
    total = rows.sq_clean + rows.sq_noisy + 2 * rows["dot"]
    squares = {"clean": rows.sq_clean, "noisy": rows.sq_noisy, "total": total, "control": rows.sq_control}
    for name, of in squares.items():
        norm = np.sqrt(of / rows.numel).groupby([rows.trial, rows.layer, rows.epoch]).mean()
        per_training = norm.groupby(["trial", "layer"]).mean()
        for layer, found in zip(chart.rows, chart.values[name], strict=True):
            assert value(found) == pytest.approx(per_training.xs(layer, level="layer").mean())
    ratio = np.sqrt(rows.sq_noisy / rows.numel).groupby([rows.trial, rows.layer]).mean()
    ratio = ratio / np.sqrt(rows.sq_clean / rows.numel).groupby([rows.trial, rows.layer]).mean()
    over_layers = ratio.groupby("layer").mean()
    (number,) = made["fig01"].numbers
    assert number.ours.startswith(f"{over_layers.min():.2f} [")
    assert f"to {over_layers.max():.2f} [" in number.ours


def test_figure_2_has_the_cosines_of_concatenated_gradients(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = with_epochs(plain(table(source, "gradients")), source, most=True)
    chart, control = made["fig02"].charts
    assert isinstance(chart, Heat)
    assert isinstance(control, Heat)
    assert (list(chart.rows), list(chart.columns)) == (GROUPS, [1, 3, 4, 5, 6, 10])
    sums = rows.groupby(["trial", "layer", "epoch"])[["dot", "sq_clean", "sq_noisy"]].sum()
    cosine = (sums["dot"] / np.sqrt(sums.sq_clean * sums.sq_noisy)).groupby(["layer", "epoch"]).mean()
    for layer, of in zip(chart.rows, chart.values, strict=True):
        for epoch, found in zip(chart.columns, of, strict=True):
            assert value(found) == pytest.approx(cosine[layer, epoch])
    assert control.values != chart.values


def test_figures_3_and_15_have_the_accuracies_left(made: Mapping[str, Exhibit], source: Source) -> None:
    training, rewinding = made["fig03"].charts
    assert isinstance(training, Curves)
    assert isinstance(rewinding, Curves)
    epochs = table(source, "epochs")
    epochs = epochs[(epochs.noise == 0.1) & (epochs.dropout == "none")].groupby("epoch")
    for line in training.panels[""]:
        expected = epochs[f"{line.name}_acc"].mean()
        assert list(line.x) == list(range(1, 11))
        assert [v.value for v in line.values] == pytest.approx(expected.tolist())
    rows = plain(table(source, "rewind")).groupby(["layer", "epoch"])
    assert list(rewinding.panels) == GROUPS
    for layer, lines in rewinding.panels.items():
        assert [s.name for s in lines] == ["clean", "noisy"]
        for line in lines:
            expected = rows[f"{line.name}_acc"].mean()[layer]
            assert [v.value for v in line.values] == pytest.approx(expected[[int(x) for x in line.x]].tolist())
    assert [c.panels for c in made["fig15"].charts if isinstance(c, Curves)] == [rewinding.panels]


def test_figure_4_and_its_number(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = table(source, "retrain")
    (chart,) = made["fig04"].charts
    assert isinstance(chart, Curves)
    means = rows.groupby(["layer", "epoch"]).noisy_acc.mean()
    for layer, lines in chart.panels.items():
        assert [v.value for v in lines[1].values] == pytest.approx(means[layer].tolist())
    best = rows[rows.epoch > 0].groupby(["trial", "layer"]).noisy_acc.max().groupby("layer").mean()
    number, during, end = made["fig04"].numbers
    assert (during.paper, end.paper) == (None, None)
    assert number.ours.startswith(f"{best.min():.3f} ")
    assert f" to {best.max():.3f} " in number.ours
    assert made["fig04"].seeds == "2 seeds"


def test_figure_5(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = table(source, "flips")
    rows = rows[rows.eligible]
    counts, left, where = made["fig05"].charts
    assert isinstance(counts, Curves)
    assert isinstance(left, Curves)
    assert isinstance(where, Dots)
    for line in counts.panels[""]:
        mine = rows[rows.noisy == (line.name == "noisy")]
        for x, found in zip(line.x, line.values, strict=True):
            expected = (mine["count"] <= x).groupby(mine.trial).mean().mean()
            assert found.value == pytest.approx(expected)
    share = table(source, "examples").groupby("trial").noisy.mean().reindex(rows.trial).to_numpy()
    accuracy = (1 - share) * rows.clean_acc + share * rows.noisy_acc
    for line in left.panels[""]:
        mine = rows.noisy == (line.name == "noisy")
        for x, found in zip(line.x, line.values, strict=True):
            expected = (accuracy[mine] < x + 1 / neuron_figures.BINS - 1e-9).groupby(rows.trial[mine]).mean().mean()
            assert found.value == pytest.approx(expected)
    for name, of in where.values.items():
        mine = rows[rows.noisy == (name == "noisy")]
        shares = []
        for _, training in mine.groupby("trial"):
            first = [layer for closed in training.layers for layer in list(closed)[:5]]
            shares.append([first.count(layer) / len(first) for layer in where.rows])
        assert [value(v) for v in of] == pytest.approx(np.mean(shares, axis=0).tolist())
    assert list(where.rows) == [g for g in GROUPS if g in set(where.rows)]


def test_figure_5s_numbers_have_the_scorecards_intervals(made: Mapping[str, Exhibit], source: Source) -> None:
    """z times the jackknife's error over examples, and Student's half over trainings, squares added; repeats averaged."""
    rows = table(source, "flips")
    rows = rows[rows.eligible]
    rows["count"] = rows["count"].where(~rows.censored, 20)
    numbers = {n.name.removesuffix(", digits, ResNet-9, 10 % noise"): n for n in made["fig05"].numbers}
    rows = rows[rows.groupby("trial").noisy.transform("nunique") == 2]
    averaged = rows.groupby(["noisy", "trial", "example"])["count"].mean().unstack("example")
    trainings = {}
    for part in ("noisy", "clean"):
        own = averaged.loc[part == "noisy"].dropna(axis=1, how="all")
        trainings[part] = own.mean(axis=1)
        k, n = len(own), own.notna().sum(axis=1)
        assert k > 1
        assert (n > 1).all()
        moved = own.sub(own.mean(axis=1), axis=0).div(np.sqrt(n * (n - 1)), axis=0).fillna(0).mean()
        seeds = stats.t.ppf(0.975, k - 1) * own.mean(axis=1).std() / np.sqrt(k)
        half = np.hypot(stats.norm.ppf(0.975) * np.sqrt((moved**2).sum()), seeds)
        mean = own.mean(axis=1).mean()
        expected = f"{mean:.2f} [{mean - half:.2f}, {mean + half:.2f}]"
        assert numbers[f"mean neurons, {part} examples"].ours == expected
    ratio = numbers["mean neurons, noisy / clean"]
    expected = np.exp(np.log(trainings["noisy"] / trainings["clean"]).mean())
    assert (ratio.ours[:5], ratio.paper) == (f"{expected:.3f}", "≈ 1/3")
    share = table(source, "examples").groupby("trial").noisy.mean().reindex(rows.trial).to_numpy()
    rows["left"] = (1 - share) * rows.clean_acc + share * rows.noisy_acc
    left = rows.groupby(["noisy", "trial", "example"]).left.mean().groupby(["noisy", "trial"]).mean().groupby("noisy").mean()
    difference = numbers["training accuracy left, noisy minus clean"]
    assert (difference.ours.split(" ")[0], difference.paper) == (f"{left[True] - left[False]:.3f}", "≈ 0.10")


def test_the_numbers_of_detection(made: Mapping[str, Exhibit], source: Source) -> None:
    """Errors on the same examples do not average out: their mean, squared, + t²s²/k. Pooled: by scikit-learn."""
    numbers = {n.name.removesuffix(", digits, ResNet-9, 10 % noise"): n for n in made["detection"].numbers}
    rows = table(source, "detection")
    rows = rows[(rows["sample"] == "flips") & (rows.score == "learning_time")]
    wide, k = np.maximum(rows.auc - rows.auc_lo, rows.auc_hi - rows.auc), len(rows)
    half = np.hypot(wide.mean(), stats.t.ppf(0.975, k - 1) * rows.auc.std() / np.sqrt(k))
    mean = rows.auc.mean()
    expected = f"{mean:.3f} [{max(0, mean - half):.3f}, {min(1, mean + half):.3f}]"
    assert (numbers["AUC of learning time"].ours, numbers["AUC of learning time"].paper) == (expected, "0.87")
    counts = table(source, "flips")
    counts = counts[counts.eligible]
    counts["count"] = counts["count"].where(~counts.censored, 20)
    own = counts.groupby(["trial", "example", "noisy"])["count"].mean()
    means = own.groupby(["example", "noisy"]).mean().reset_index()
    pooled = numbers["AUC of neurons to flip, averaged over all trainings and repeats first"]
    assert (pooled.ours.split(" ")[0], pooled.paper) == (f"{roc_auc_score(means.noisy, -means['count']):.3f}", "0.89")


def test_detection_is_on_the_flip_sample(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = table(source, "detection")
    auc = rows[rows["sample"] == "flips"].groupby("score").auc.mean()
    chart, by_draws = made["detection"].charts
    assert isinstance(chart, Dots)
    assert isinstance(by_draws, Curves)
    found = dict(zip(chart.rows, chart.values["AUC"], strict=True))
    assert {name: value(v) for name, v in found.items()} == pytest.approx(
        {neuron_figures.SCORES[s]: v for s, v in auc.items()}
    )
    counts = table(source, "flips")
    counts = counts[counts.eligible]
    counts["count"] = counts["count"].where(~counts.censored, 20)
    (line,) = by_draws.panels[""]
    seeds = dict(zip(*(table(source, "trials")[name] for name in ("trial", "seed")), strict=True))
    draws = sorted({(seeds[t], t, r) for t, r in zip(counts.trial, counts.repeat, strict=True)})
    assert list(line.x) == list(range(1, len(draws) + 1))
    assert len(draws) == 6  # three trainings × two repeats
    drawn = [draws.index((seeds[t], t, r)) for t, r in zip(counts.trial, counts.repeat, strict=True)]
    for k, of in zip(line.x, line.values, strict=True):
        mine = counts[np.array(drawn) < k].groupby(["example", "noisy"])["count"].mean().reset_index()
        assert of == (pytest.approx(roc_auc_score(mine.noisy, -mine["count"])), None, None)


def test_the_tables(made: Mapping[str, Exhibit], source: Source) -> None:
    rows = table(source, "evaluation")
    rows = rows[rows.rescale == "none"]
    tied = (
        rows[rows.dropout == "example_tied"]
        .groupby(["p_gen", "p_mem", "mode"])[["clean_acc", "noisy_acc", "test_acc"]]
        .mean()
    )
    (one,) = made["table1"].tables
    before, scaled, after = (tied.loc[(0.3, 0.2, mode)] for mode in ("own", "scaled", "dropped"))
    expected = [before.clean_acc, before.noisy_acc, scaled.test_acc, *after]
    assert one.rows[0][0] == "digits, p_gen 0.3, p_mem 0.2"
    assert [re.split(r" [±\[]", cell)[0] for cell in one.rows[0][1:]] == [f"{100 * v:.1f}" for v in expected]
    assert [row[0] for row in one.rows[1:]] == ["CIFAR-10 in the paper", "MNIST in the paper", "SVHN in the paper"]
    (two,) = made["table2"].tables
    assert [row[0] for row in two.rows][::2] == ["p_mem 0.1", "p_mem 0.2"]
    for row, p_mem in ((two.rows[0], 0.1), (two.rows[2], 0.2)):
        for cell, p_gen in zip(row[1:], (0.2, 0.3), strict=True):
            of = tied.loc[(p_gen, p_mem, "dropped")]
            clean, noisy = re.findall(r"(?:^|[\d\]], )([\d.]+) [±\[]", cell)
            assert (clean, noisy) == (f"{100 * of.clean_acc:.1f}", f"{100 * of.noisy_acc:.1f}")
    assert two.rows[1][1:] == ["86.9, 2.8", "87.1, 2.9"]
    (three,) = made["table3"].tables
    assert [row[0].split(" (")[0] for row in three.rows] == ["Standard dropout", "Sparse network", "Example-tied, dropped"]
    for row, name in zip(three.rows, ("standard", "sparse"), strict=False):
        of = rows[(rows.dropout == name) & (rows["mode"] == "plain")]
        assert row[2:4] == [f"{100 * of.clean_acc.mean():.1f}", f"{100 * of.noisy_acc.mean():.1f}"]


def test_figure_7_shows_the_images_of_what_was_forgotten(made: Mapping[str, Exhibit], source: Source) -> None:
    (gallery,) = made["fig07"].charts
    assert isinstance(gallery, Gallery)
    opened = OpenStore(source.reader.store)
    trials = opened.trials(p_gen=0.3, p_mem=0.2)
    rows = opened.pandas("predictions")
    examples = opened.pandas("examples").set_index(["trial", "example"])
    times: dict[int, int] = {}
    for trial in trials:
        mine = rows[rows.trial == trial.id]
        before = dict(mine[mine["mode"] == "own"][["example", "correct"]].itertuples(index=False))
        after = mine[(mine["mode"] == "dropped") & (mine.rescale == "none")]
        for example, correct in after[["example", "correct"]].itertuples(index=False):
            if before[example] and not correct and not examples.noisy[trial.id, example]:
                times[example] = times.get(example, 0) + 1
    order = sorted(times, key=lambda e: (-times[e], e))[: forgotten_figure.PICTURES]
    assert order
    raw = load("digits")
    assert len(gallery.pictures) == len(order)
    for example, picture in zip(order, gallery.pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.png))), raw.x_train[example, 0])
        assert picture.words.startswith(f"{raw.y_train[example]} → ")
    assert made["fig07"].numbers[0].ours == f"{len(times)} ({sum(times.values())} times)"


def test_figure_7_without_the_data_set_says_what_is_missing(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from memloc.errors import UsageError

    def missing(*arguments: Any) -> Any:
        raise UsageError("digits: is not here")

    monkeypatch.setattr("memloc.data.load", missing)
    source = source_of(Store(str(everything)))
    found = forgotten_figure.figure7(source)
    assert not found.charts
    assert found.note == "Without images: digits was not in the data directory."
    assert set(source.problems) == {
        f"Figure 7 has no images of digits, ResNet-9, 10 % noise, p_gen {g}, p_mem {m}: digits: is not here"
        for g, m in ((0.3, 0.2),)
    }
    assert found.numbers
    assert found.run
    (whole,) = forgotten_figure.figure7(source).tables
    assert len(whole.rows) > 0


def test_figure_11_is_drawn_from_three_noises_on(made: Mapping[str, Exhibit], source: Source) -> None:
    ratio, *levels = made["fig11"].charts
    assert isinstance(ratio, Curves)
    rows = table(source, "gradients")
    rows = with_epochs(rows[rows.dropout == "none"], source, most=False)
    (line,) = ratio.panels[""]
    assert list(line.x) == [5.0, 50.0, 90.0]
    assert len(levels) == 3
    for x, found in zip(line.x, line.values, strict=True):
        mine = rows[rows.noise == x / 100]
        norms = [np.sqrt(mine[c] / mine.numel).groupby([mine.trial, mine.layer]).mean() for c in ("sq_noisy", "sq_clean")]
        assert found.value == pytest.approx((norms[0] / norms[1]).groupby("trial").mean().mean())


def test_figure_11s_paper_values_are_beside_their_own_rates(everything: Path, tmp_path: Path) -> None:
    def papers(figure: Exhibit) -> dict[str, str | None]:
        return {n.name.rpartition(", ")[2]: n.paper for n in figure.numbers}

    assert papers(noise_figure.figure11(source_of(Store(str(everything))))) == {"5 % noise": None, "90 % noise": None}
    rates = {0.05: 0.01, 0.9: 0.99}
    source = altered(
        everything,
        tmp_path,
        lambda c: {**c.config, "noise": rates.get(c.config["noise"], c.config["noise"])} if c.analysis is None else None,
    )
    assert papers(noise_figure.figure11(source)) == {"1 % noise": "slightly below 1", "99 % noise": "very high"}


def test_atypical_analyses_are_in_their_figures_alone(everything: Path, tmp_path: Path) -> None:
    def change(commit: Commit) -> Mapping[str, Any] | None:
        return (
            {**commit.config, "memorized": "c_score:scores.npz"}
            if commit.stage in ("rewind", "retrain", "gradients")
            else None
        )

    source = altered(everything, tmp_path, change)
    for figure in (
        gradient_figures.figure1,
        gradient_figures.figure2,
        gradient_figures.figure10,
        noise_figure.figure11,
        gradient_figures.figure12,
    ):
        assert not figure(source).run
    for figure in (layer_figures.figure3, layer_figures.figure4, layer_figures.figure15, layer_figures.figure18):
        assert not figure(source).run
    (norms, *_) = gradient_figures.figure8(source).charts
    assert isinstance(norms, Dots)
    assert list(norms.values) == ["typical", "atypical", "total", "control"]
    for figure in (layer_figures.figure9, layer_figures.figure19):
        chart = figure(source).charts[0]
        assert isinstance(chart, Curves)
        assert [s.name for s in chart.panels["conv1"]] == ["typical", "atypical"]
    assert neuron_figures.figure5(source).run
    assert dropout_tables.table1(source).run


def test_figures_of_gradients_are_along_the_trajectory(made: Mapping[str, Exhibit], source: Source) -> None:
    (chart,) = made["fig10"].charts
    assert isinstance(chart, Curves)
    assert [list(s.x) for s in chart.panels["linear"]] == [[0.5, 2.5, 3.5, 4.5, 5.5, 9.5]] * 3
    rows = plain(table(source, "gradients"))
    mine = rows[(rows.layer == "linear") & (rows.epoch == 3)]
    norm = np.sqrt(mine.sq_noisy / mine.numel).groupby(mine.trial).mean().mean()
    assert {s.name: s.values[1].value for s in chart.panels["linear"]}["noisy"] == pytest.approx(norm)
    for name in ("fig01", "fig02", "fig10", "fig11", "fig12"):
        assert gradient_figures.CHECKPOINTS not in made[name].note


def test_without_trajectories_they_are_of_checkpoints_and_say_so(everything: Path, tmp_path: Path) -> None:
    source = altered(everything, tmp_path, lambda c: {k: v for k, v in c.config.items() if k != "at"})
    for figure in (gradient_figures.figure2, gradient_figures.figure10, gradient_figures.figure12):
        made = figure(source)
        assert (made.run, gradient_figures.CHECKPOINTS in made.note) == (True, True)


def test_a_cell_of_per_cent() -> None:
    """Student's interval of two by hand: t = 12.706, so ± 12.706 · |a − b| / 2."""
    assert dropout_tables.cell([0.5, 0.502]) == "50.1 ±1.3"
    assert dropout_tables.cell([0.246, 1.0]) == "62.3 [0.0, 100.0]"
    assert dropout_tables.cell([0.99, 0.992]) == "99.1 [97.8, 100.0]"
    assert (dropout_tables.cell([0.5]), dropout_tables.cell([]), dropout_tables.cell([1.0, 1.0])) == (
        "50.0",
        "–",
        "100.0 ±0.0",
    )


def test_table_3_has_the_papers_numbers_for_both_readings(everything: Path, tmp_path: Path) -> None:
    source = altered(
        everything, tmp_path, lambda c: {**c.config, "keep": 0.6} if c.analysis is None and "keep" in c.config else None
    )
    (found,) = dropout_tables.table3(source).tables
    papers = {row[0]: row[-1] for row in found.rows}
    assert papers["Standard dropout (keep 0.6, per element)"] == "100, 99.5"
    assert papers["Sparse network (keep 0.6)"] == "100, 99.8"


def test_figure_4_has_what_the_paper_says_of_layer_5_on_mnist(everything: Path, tmp_path: Path) -> None:
    source = altered(everything, tmp_path, lambda c: None if c.analysis else {**c.config, "dataset": "mnist"})
    numbers = {n.name.partition(",")[0]: n for n in layer_figures.figure4(source).numbers[1:]}
    rows = table(source, "retrain")
    rows = rows[(rows.layer == "res2.conv1") & (rows.epoch > 0)].groupby("trial").noisy_acc
    during, end = numbers["highest noisy accuracy of res2.conv1"], numbers["last noisy accuracy of res2.conv1"]
    assert (during.paper, end.paper) == ("> 0.70", "< 0.10")
    assert during.ours.startswith(f"{rows.max().mean():.3f}")
    assert end.ours.startswith(f"{rows.last().mean():.3f}")


def test_the_commands_run_what_the_paper_shows(made: Mapping[str, Exhibit]) -> None:
    def selected(exhibit: Exhibit) -> Sequence[Any]:
        _, _, name, *options = exhibit.command.split()
        entries = sweeps.only(sweeps.load(shipped()[name], REGISTRY).entries, options[1::2], REGISTRY)
        return [e.config for e in entries]

    for name in ("fig03", "fig12", "fig13", "fig14", "fig15", "fig16", "fig17"):
        assert {c.model for c in selected(made[name])} == {"resnet9", "resnet50", "vit_small"}, name
    assert len(selected(made["fig10"])) == 3
    assert {n for n, e in made.items() if e.first} == {"fig08", "fig09", "fig19"}
    assert {e.first for e in made.values()} == {"", "memloc sweep cscore"}


def test_the_commands_select_trainings_of_shipped_sweeps(made: Mapping[str, Exhibit]) -> None:
    for exhibit in made.values():
        _, _, name, *options = exhibit.command.split()
        assert options[::2] == ["--only"] * (len(options) // 2)
        assert sweeps.only(sweeps.load(shipped()[name], REGISTRY).entries, options[1::2], REGISTRY), exhibit.command
