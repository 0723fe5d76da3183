"""Figures 1, 2, 10 and 11 against numbers computed by loops over the simulated tables."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from memloc.analysis.settings import Setting
from memloc.papers.charts import Curves, Dots, Heat
from memloc.papers.maini2023.gradients import SECTION
from memloc.statistics.trainings import OverTrainings
from tests.papers.maini2023.simulated import Simulated

NORMS, COSINES, THROUGH, NOISE_CURVE = SECTION.exhibits

EPOCHS = range(1, 51)


def geometric(*norms: float) -> float:
    return math.exp(sum(math.log(n) for n in norms) / len(norms))


def value(cell: OverTrainings | None) -> float:
    assert cell is not None
    return cell.value


def test_the_norms_of_every_layer_are_means_over_epochs_then_trainings(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    for seed, noisy in ((0, 2.0), (1, 4.0)):
        made.gradients(made.training(seed=seed), noisy=noisy, last=3.0)
    shown = made.shown(NORMS)
    (chart,) = shown.charts
    assert isinstance(chart, Dots)
    assert (chart.title, list(chart.rows), chart.x_label) == ("", ["conv", "linear"], "gradient norm per √parameter")
    assert list(chart.values) == ["clean", "noisy", "total", "control"]
    conv, linear = chart.values["noisy"]
    assert (conv is not None, linear is not None) == (True, True)
    assert value(conv) == pytest.approx(geometric(2.0, 4.0))
    assert sorted(conv.each if conv else ()) == [2.0, 4.0]
    assert value(linear) == pytest.approx(3.0)
    assert [value(v) for v in chart.values["clean"]] == pytest.approx([1.0, 1.0])
    assert [value(v) for v in chart.values["control"]] == pytest.approx([0.1, 0.1])
    totals = [math.sqrt(1 + n * n - 2 * 0.9 * n) for n in (2.0, 4.0)]
    assert value(chart.values["total"][0]) == pytest.approx(geometric(*totals))
    rows = made.rows(chart.sql)
    assert len(rows) == 2 * 2 * len(EPOCHS)
    assert {j.claim_id for j in shown.judgements} == {"G1", "G4", "G5"}
    assert (shown.setting, shown.trainings) == ("The paper's setting.", "2 trainings")


def test_a_training_that_diverged_is_no_dot(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    made.gradients(made.training(seed=0), noisy=2.0)
    made.gradients(made.training(seed=1), noisy=math.nan)
    (chart,) = made.shown(NORMS).charts
    assert isinstance(chart, Dots)
    assert [cell and cell.each for cell in chart.values["noisy"]] == [(2.0,), (2.0,)]


def test_cosines_by_layer_and_epoch_beside_random_sets(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    for seed, shift in ((0, 0.0), (1, 0.1)):
        trial = made.training(seed=seed)
        made.gradients(trial, cosine=lambda e, s=shift: -e / 100 - s, epochs=[1, 20, 3], last_cosine=0.25, control=0.5)
    (chart,) = made.shown(COSINES).charts
    assert isinstance(chart, Heat)
    assert (list(chart.rows), list(chart.columns)) == (["conv", "linear"], [1, 3, 20])
    both, random = chart.panels.values()
    assert list(chart.panels) == ["clean and noisy examples", "two random sets of these sizes"]
    assert [value(v) for v in both[0]] == pytest.approx([-0.06, -0.08, -0.25])
    assert [value(v) for v in both[1]] == pytest.approx([0.25] * 3)
    assert np.allclose([[value(v) for v in row] for row in random], 0.5)
    assert len(made.rows(chart.sql)) == 2 * 3 * 2


def test_windows_are_tenths_of_the_epochs(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    made.gradients(made.training(), noisy=2.0, epochs=[1, 5, 6, 50])
    (chart,) = made.shown(THROUGH).charts
    assert isinstance(chart, Curves)
    assert list(chart.panels) == ["conv", "linear"]
    names = [line.name for line in chart.panels["conv"]]
    assert names == ["clean", "noisy", "total"]
    for line in chart.panels["conv"]:
        assert list(line.x) == [2.5, 7.5, 47.5]  # epochs 1 to 5, 6 to 10 and 46 to 50
    assert [v and v.value for v in chart.panels["conv"][1].values] == pytest.approx([2.0] * 3)
    assert (chart.log_y, chart.y_range) == (True, (1.0, 10.0))


def test_without_trajectories_gradients_are_those_of_checkpoints_and_the_title_says_so(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    made.gradients(made.training(), noisy=2.0, at="checkpoint", epochs=[0, 10, 20])
    for exhibit in (NORMS, COSINES, THROUGH):
        shown = made.shown(exhibit)
        assert [c.title for c in shown.charts] == ["at checkpoints"], exhibit.id
    made.gradients(made.training(seed=1), noisy=7.0)
    (chart,) = made.shown(NORMS).charts
    assert isinstance(chart, Dots)
    assert (chart.title, value(chart.values["noisy"][0])) == ("", pytest.approx(7.0))


def test_the_ratio_against_the_noise_rate(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    for noise in (0.01, 0.99):
        for seed in (0, 1):
            made.gradients(made.training(noise=noise, seed=seed), noisy=(1 + seed) * 10 * noise, last=3.0)
    assert not made.shown(NOISE_CURVE).run  # two rates are no curve
    made.gradients(made.training(noise=0.5), noisy=5.0, last=3.0)
    made.gradients(made.training(noise=0.0), noisy=8.0)
    shown = made.shown(NOISE_CURVE)
    (chart,) = shown.charts
    assert isinstance(chart, Curves)
    (line,) = chart.panels[""]
    assert list(line.x) == [1.0, 50.0, 99.0]
    expected = [
        geometric(geometric(0.1, 3), geometric(0.2, 3)),
        geometric(5, 3),
        geometric(geometric(9.9, 3), geometric(19.8, 3)),
    ]
    assert [v and v.value for v in line.values] == pytest.approx(expected)
    assert line.each[1][1] is None  # seed 1 has no training at 50 %
    assert (chart.rule, chart.log_y) == ((1.0, "equal"), True)
    assert {j.part for j in shown.judgements} == {"noise0.01", "noise0.99", "trend"}


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_curve_and_the_scorecard_have_one_estimate_of_a_rate(tmp_path: Path, seeds: int) -> None:
    """Of two trainings at each rate too, which share the spread of all rates."""
    made = Simulated(tmp_path, "Gradients")
    for noise in (0.01, 0.1, 0.99):
        for seed in range(seeds):
            made.gradients(made.training(noise=noise, seed=seed), noisy=(1 + noise) * (1.1 + 0.05 * seed) ** (1 + noise))
    shown = made.shown(NOISE_CURVE)
    (chart,) = shown.charts
    assert isinstance(chart, Curves)
    (judged,) = (j for j in shown.judgements if j.part == "noise0.01")
    assert chart.panels[""][0].values[0] == judged.interval
    assert (judged.lo is None) == (seeds == 1)


def test_the_sentence_has_the_scorecards_numbers(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    for seed in (0, 1):
        made.gradients(made.training(seed=seed), noisy=3.0 + seed, cosine=-0.8)
    judged = made.judged()
    numbers = {"G1": {"": judged["G1.cifar10"]}, "G2": {"": judged["G2"]}, "G4": {"": judged["G4"]}}
    text = SECTION.sentence(numbers)
    for j in (judged["G1.cifar10"], judged["G2"], judged["G4"]):
        assert f" {j.printed(2)}" in text
    assert SECTION.sentence({}) == ""
    assert judged["G2"].printed(2) not in SECTION.sentence({"G1": numbers["G1"]})
    assert isinstance(judged["G2"].setting, Setting)


def test_a_sentence_names_the_gradients_if_no_other_does(tmp_path: Path) -> None:
    """At 30 % noise there is no G1, which would name them."""
    made = Simulated(tmp_path, "Gradients")
    for seed in (0, 1):
        made.gradients(made.training(seed=seed), noisy=3.0 + seed, cosine=-0.8)
    judged = made.judged()
    cosine, total = judged["G2"], judged["G4"]
    assert SECTION.sentence({"G4": {"": total}}) == (
        f"The sum of the clean and the noisy gradient has {total.printed(2)} times the smaller of the two norms, in the "
        "layer where this is largest."
    )
    assert SECTION.sentence({"G2": {"": cosine}, "G4": {"": total}}) == (
        "While noisy examples are memorized, the cosine of the clean and the noisy gradient is "
        f"{cosine.printed(2)} in the layer where it is largest. Their sum has {total.printed(2)} times the smaller of the "
        "two norms, in the layer where this is largest."
    )


def test_a_layer_is_said_to_be_farthest_only_if_it_is(tmp_path: Path) -> None:
    """conv has 3 in all trainings, so the claim does not hold. linear is farther out, at 1, 1, 100, and proves nothing."""
    made = Simulated(tmp_path, "Gradients")
    for seed, last in enumerate((1.0, 1.0, 100.0)):
        made.gradients(made.training(seed=seed), noisy=3.0, last=last)
    judged = made.judged()
    assert (judged["G1.cifar10"].verdict, judged["G1.cifar10"].ours) == ("does_not_hold", pytest.approx(3.0))
    assert "to 4.64 (linear)" in judged["G1.cifar10"].reason
    assert SECTION.sentence({"G1": {"": judged["G1.cifar10"]}}).endswith(", in a layer where the two clearly differ.")
    inside = replace(judged["G1.cifar10"], verdict="holds")
    assert SECTION.sentence({"G4": {"": judged["G4"]}}).endswith(" norms, in a layer where this is clearly 1 or more.")
    assert SECTION.sentence({"G1": {"": inside}}).endswith(", in the layer where the two differ most.")
    assert SECTION.sentence({"G4": {"": inside}}).endswith(" of the two norms, in the layer where this is largest.")


def test_figures_show_the_trainings_that_are_judged(tmp_path: Path) -> None:
    """One has not memorized: the numbers below the charts leave it out, and so do the charts. G3 is of all trainings."""
    made = Simulated(tmp_path, "Gradients")
    for seed, (noisy, evaluated) in enumerate(((2.0, 1.0), (3.0, 1.0), (50.0, 0.5))):
        for noise in (0.05, 0.1, 0.2):
            trial = made.training(seed=seed, evaluated=evaluated, noise=noise)
            made.gradients(trial, noisy=noisy, cosine=-noisy / 100, last=1.0, last_cosine=-0.9)
    norms, cosines, through, curve = map(made.shown, (NORMS, COSINES, THROUGH, NOISE_CURVE))
    dots, heat, windows, ratios = (shown.charts[0] for shown in (norms, cosines, through, curve))
    assert isinstance(dots, Dots)
    assert isinstance(heat, Heat)
    assert isinstance(windows, Curves)
    assert isinstance(ratios, Curves)
    assert value(dots.values["noisy"][0]) == pytest.approx(geometric(2.0, 3.0))
    assert value(next(iter(heat.panels.values()))[0][0]) == pytest.approx(-0.025)
    assert sorted(v[0] or 0 for v in windows.panels["conv"][1].each) == pytest.approx([2.0, 3.0])
    assert len(ratios.panels[""][0].each) == 3
    assert norms.trainings == "2 trainings each"
    assert {j.seeds for j in norms.judgements} == {2}
    assert {j.part: j.seeds for j in curve.judgements}["trend"] == 9


def test_a_setting_with_gradients_at_checkpoints_alone_is_shown_beside_others(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Gradients")
    made.gradients(made.training(noise=0.05), noisy=2.0)
    made.gradients(made.training(noise=0.05), noisy=3.0, at="checkpoint")
    made.gradients(made.training(noise=0.1), noisy=4.0, at="checkpoint")
    shown = made.shown(NORMS)
    assert [chart.title for chart in shown.charts] == ["5 % noise", "10 % noise, at checkpoints"]
    assert {j.id for j in shown.judgements} >= {"G1.cifar10.noise0.05", "G1.cifar10.checkpoint"}
