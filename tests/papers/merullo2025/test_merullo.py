"""K1 to K4 and their figures on edits that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memloc.papers.charts import Curves, Dots
from memloc.papers.exhibits import Exhibit
from memloc.papers.merullo2025 import PAPER
from tests.papers.maini2023.simulated import Simulated

Accuracies = Sequence[float | None]  # clean, noisy, true, test
EXHIBITS = {e.id: e for section in PAPER.sections for e in section.exhibits}
N, NOISY = 1000, 100
KFAC, SVD = (0.995, 0.07, 0.9, 0.98), (1.0, 0.64, 0.2, 0.97)


@pytest.fixture
def made(tmp_path: Path) -> Simulated:
    simulated = Simulated(tmp_path)
    simulated.paper = PAPER
    return simulated


def edit(made: Simulated, trial: str, rows: Mapping[tuple[Any, ...], Accuracies], **config: Any) -> None:
    """rows: {(rank, rho, epoch, groups, budget, bn, images): accuracies}; what is left out is the usual one."""
    usual = ("kfac", 0.9, 50, "inner", "energy", "final", "train")
    keys = [(*key, *usual[len(key) :]) for key in rows]
    names = ("rank", "rho", "epoch", "groups", "budget", "bn", "images")
    columns: dict[str, Any] = {name: [key[k] for key in keys] for k, name in enumerate(names)}
    for k, name in enumerate(("clean_acc", "noisy_acc", "noisy_true_acc", "test_acc")):
        columns[name] = [values[k] for values in rows.values()]
    made.analysis(trial, "edit", {"epochs": [50], "memorized": "labels", **config}, edits=columns)


def noisy(value: float) -> Accuracies:
    return (0.99, value, 0.9, 0.98)


def trained(made: Simulated, seeds: int = 5, **fields: Any) -> list[str]:
    return [made.training(seed=seed, n=N, noise=NOISY / N, **fields) for seed in range(seeds)]


def test_what_the_edit_takes_away(made: Simulated) -> None:
    """Five trainings around the prototype's numbers; each estimate is the plain mean."""
    shift = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
    for trial, by in zip(trained(made), shift, strict=True):
        edit(made, trial, {("kfac",): (0.995, 0.07 + by, 0.9 - by, 0.98), ("svd",): SVD})
    found = made.judged()
    assert {part: found[f"K1.{part}"].ours for part in ("noisy", "true", "clean")} == pytest.approx(
        {"noisy": 0.07, "true": 0.9, "clean": 0.995}
    )
    assert {found[f"K1.{part}"].verdict for part in ("noisy", "true", "clean")} == {"holds"}
    assert (found["K2.noisy"].ours, found["K2.true"].ours) == pytest.approx((0.57, 0.7))
    assert {found[f"K2.{part}"].verdict for part in ("noisy", "true")} == {"holds"}
    deviation, seeds = shift.std(ddof=1), found["K4.seeds"]
    limits = deviation * np.sqrt(4 / stats.chi2(4).ppf([0.975, 0.025]))
    assert (seeds.ours, seeds.lo, seeds.hi) == pytest.approx((deviation, *limits))
    assert found["K4.seeds"].verdict == "holds"
    lo, hi = found["K1.noisy"].lo, found["K1.noisy"].hi
    assert lo is not None
    assert hi is not None
    assert lo < 0.04 < 0.1 < hi  # of 100 examples alone it is 0.034 to 0.137


@pytest.mark.parametrize(
    ("accuracies", "wrong"),
    [((0.995, 0.3, 0.9, 0.9), "noisy"), ((0.995, 0.07, 0.5, 0.9), "true"), ((0.9, 0.07, 0.9, 0.9), "clean")],
)
def test_what_it_promises_is_judged_one_by_one(made: Simulated, accuracies: Accuracies, wrong: str) -> None:
    for trial in trained(made, 3):
        edit(made, trial, {("kfac",): accuracies})
    found = made.judged()
    verdicts = {part: found[f"K1.{part}"].verdict for part in ("noisy", "true", "clean")}
    assert verdicts == {"noisy": "holds", "true": "holds", "clean": "holds"} | {wrong: "does_not_hold"}


def test_examples_of_a_training_without_the_edit_do_not_count(made: Simulated) -> None:
    """It was edited by another rank; its own mislabeled examples are others."""
    (one,), (other,) = trained(made, 1), trained(made, 1, data_seed=1)
    edit(made, one, {("kfac",): noisy(0.07)})
    edit(made, other, {("svd",): noisy(0.5)})
    found = made.judged()["K1.noisy"]
    wilson = stats.binomtest(7, NOISY).proportion_ci(0.95, "wilson")
    assert (found.seeds, found.lo, found.hi) == pytest.approx((1, wilson.low, wilson.high))


def test_the_inputs_alone_do_as_well(made: Simulated) -> None:
    """As the prototype found: at the same energy no difference, at kfac's number of pairs even fewer wrong labels."""
    for trial in trained(made):
        pairs = {("activation", 0.9, 50, "inner", "pairs"): noisy(0.0)}
        edit(made, trial, {("kfac",): noisy(0.3), ("activation",): noisy(0.3), **pairs})
    found = made.judged()
    assert (found["K3.energy"].ours, found["K3.pairs"].ours) == pytest.approx((0.0, -0.3))
    assert (found["K3.energy"].verdict, found["K3.pairs"].verdict) == ("inconclusive", "does_not_hold")


def test_only_the_usual_edit_of_the_last_checkpoint_is_judged(made: Simulated) -> None:
    """Other checkpoints, groups, images and statistics, analyses under masks or on other sets: none of them counts."""
    for trial in trained(made, 3):
        others = {
            ("kfac", 0.93): noisy(1.0), ("kfac", 0.9, 40): noisy(1.0), ("kfac", 0.9, 50, "conv1"): noisy(1.0),
            ("kfac", 0.9, 50, "inner", "energy", "recomputed"): noisy(1.0),
            ("kfac", 0.9, 50, "inner", "energy", "final", "test"): noisy(1.0),
        }  # fmt: skip
        edit(made, trial, {**others, ("kfac",): noisy(0.07)})
        edit(made, trial, {("kfac",): noisy(0.8)}, mask_mode="plain")
        edit(made, trial, {("kfac",): noisy(0.9)}, memorized="c_score:abc")
        edit(made, trial, {("kfac",): noisy(0.07)}, epochs=[50], rho=[0.9])  # the same edit, asked for twice
    found = made.judged()
    assert found["K1.noisy"].ours == pytest.approx(0.07)
    rows = made.rows(found["K1.noisy"].sql)
    assert len(rows) == 3 * 6
    assert sum(row["noisy_acc"] for row in rows if (row["rho"], row["epoch"]) == (0.9, 50)) == pytest.approx(3 * (0.07 + 3))


def test_changes_with_the_end_of_training_and_with_rho(made: Simulated) -> None:
    """The largest of each training: over checkpoints of the last third, and to the next share on either side."""
    for trial in trained(made, 3):
        epochs = {("kfac", 0.9, epoch): noisy(value) for epoch, value in ((20, 0.9), (35, 0.02), (40, 0.12), (50, 0.07))}
        shares = {("kfac", rho): noisy(value) for rho, value in ((0.8, 0.9), (0.85, 0.05), (0.93, 0.3), (0.97, 0.8))}
        edit(made, trial, {**epochs, **shares})
    found = made.judged()
    assert [found[f"K4.{part}"].ours for part in ("epochs", "smooth", "near")] == pytest.approx([0.05, 0.85, 0.23])
    assert [found[f"K4.{part}"].verdict for part in ("epochs", "smooth", "near")] == ["holds", *["does_not_hold"] * 2]
    assert "checkpoints 35, 40, 50" in found["K4.epochs"].reason
    assert "to 0.85 or 0.93" in found["K4.near"].reason


def test_without_the_rows_it_says_what_is_missing(made: Simulated) -> None:
    edit(made, trained(made, 1)[0], {("kfac", 0.8): noisy(0.1)})
    found = made.judged()
    assert {one.verdict for one in found.values()} == {"not_testable"}
    assert "`edit: {}` has it" in found["K1.noisy"].reason
    assert "`edit.epochs`" in found["K4.epochs"].reason


def test_nothing_of_networks_that_did_not_memorize(made: Simulated) -> None:
    for trial in trained(made, 3, evaluated=0.4):
        edit(made, trial, {("kfac",): noisy(0.07)})
    assert "not memorized" in made.judged()["K1.noisy"].reason


def test_an_empty_store_names_the_command(made: Simulated) -> None:
    for one in made.judged().values():
        assert one.verdict == "not_run"
        assert one.reason.startswith("needs edit on cifar10, resnet9, noise 0.1")


# --- figures ------------------------------------------------------------------------------------------------------------


def curves(made: Simulated, name: str) -> Curves:
    (chart,) = made.shown(EXHIBITS[name]).charts
    assert isinstance(chart, Curves)
    return chart


def test_noisy_against_clean(made: Simulated) -> None:
    for trial, by in zip(trained(made, 2), (0.0, 0.1), strict=True):
        rows = {
            ("kfac", rho): (clean, left + by, 0.9, 0.9)
            for rho, clean, left in ((0.75, 0.79, 0.0), (0.8, 0.9, 0.0), (0.9, 0.99, 0.1), (0.97, 0.99, 0.5))
        }
        pairs = {("activation", rho, 50, "inner", "pairs"): noisy(0.2) for rho in (0.8, 0.9)}
        edit(made, trial, {**rows, **pairs, ("svd", 0.8): SVD, ("svd", 0.9): SVD, ("activation", 0.9): noisy(0.3)})
    chart = curves(made, "exchange")
    energy, as_many = chart.panels.values()
    assert [one.name for one in energy] == ["kfac", "activation", "svd"]
    assert [one.name for one in as_many] == ["kfac", "activation"]
    assert energy[0].x == pytest.approx([0.9, 0.99, 0.99], abs=1e-4)
    assert energy[0].x[1] < energy[0].x[2]  # in the order of the shares
    assert np.sort(energy[0].each, axis=0) == pytest.approx(np.array([[0.0, 0.1, 0.5], [0.1, 0.2, 0.6]]))
    assert [value.value for value in energy[0].values if value] == pytest.approx([0.05, 0.15, 0.55])
    by_rank = curves(made, "shares").panels
    assert list(by_rank) == ["kfac", "svd"]  # one share is no curve
    assert [one.name for one in by_rank["kfac"]] == ["clean", "noisy", "true", "test"]
    assert by_rank["kfac"][0].x == [0.75, 0.8, 0.9, 0.97]


def test_over_epochs_and_by_group(made: Simulated) -> None:
    for trial in trained(made, 2):
        plain = {
            ("none", None, epoch, "none", "none", "final", "none"): noisy(value) for epoch, value in ((5, 0.1), (50, 1.0))
        }
        groups = {
            ("kfac", 0.9, 50, group): noisy(value) for group, value in (("conv1", 0.9), ("conv2", 0.4), ("conv10", 0.8))
        }
        edit(made, trial, {**plain, **groups, ("kfac", 0.9, 40): noisy(0.2), ("kfac",): noisy(0.1)})
    as_it_is, edited = curves(made, "checkpoints").panels.values()
    assert (as_it_is[1].name, as_it_is[1].x, edited[1].x) == ("noisy", [5.0, 50.0], [40.0, 50.0])
    assert [v.value for v in edited[1].values if v] == pytest.approx([0.2, 0.1])
    (dots,) = made.shown(EXHIBITS["groups"]).charts
    assert isinstance(dots, Dots)
    assert dots.rows == ["conv1", "conv2", "conv10"]  # as the analysis has them
    left = dict(zip(dots.rows, dots.values["noisy"], strict=True))
    assert {group: one.value for group, one in left.items() if one} == pytest.approx(
        {"conv1": 0.9, "conv2": 0.4, "conv10": 0.8}
    )


def table(made: Simulated, exhibit: Exhibit) -> dict[str, Sequence[str]]:
    (found,) = made.shown(exhibit).tables
    return {" ".join(row[: len(found.head) - 4]): row[-4:] for row in found.rows}


def test_the_table_of_ranks(made: Simulated) -> None:
    for trial in trained(made, 3):
        edit(
            made, trial, {("svd",): SVD, ("kfac",): KFAC, ("kfac", 0.9, 50, "inner", "energy", "final", "test"): noisy(0.5)}
        )
    found = table(made, EXHIBITS["ranks"])
    assert list(found) == ["kfac energy final train", "svd energy final train", "kfac energy final test"]
    assert [cell.split()[0] for cell in found["kfac energy final train"]] == ["0.995", "0.070", "0.900", "0.980"]


# Of examples 0 and 1 the true classes are 1 and 2. The others do not count: cut off, not eligible, labeled correctly.
SEARCHES = {
    "example": [0, 1, 2, 3, 500],
    "repeat": [0] * 5,
    "noisy": [True, True, True, True, False],
    "eligible": [True, True, True, False, True],
    "censored": [False, False, True, False, False],
    "new_class": [1, 7, None, 4, 1],
    "clean_acc": [0.7, 0.9, 0.1, 0.1, 0.1],
    "noisy_acc": [0.6, 0.8, 0.1, 0.1, 0.1],
    "test_acc": [0.5, 0.7, 0.1, 0.1, 0.1],
}


def test_beside_other_ways(made: Simulated) -> None:
    """Early stopping: the best on test before chance. Flips: means over searches that end. Tied: no other networks."""
    for trial in trained(made, 2):
        unedited = ((3, 0.01, 0.8), (5, 0.02, 0.9), (10, 0.09, 0.7), (15, 0.4, 0.99), (20, 0.05, 0.99), (50, 1.0, 0.98))
        plain = {
            ("none", None, epoch, "none", "none", "final", "none"): (0.99, value, 0.9, test)
            for epoch, value, test in unedited
        }
        edit(made, trial, {**plain, ("kfac",): KFAC, ("activation",): noisy(0.06)})
        made.analysis(trial, "flips", {"clean": 0, "noisy": 4, "repeats": 1, "memorized": "labels"}, flips=SEARCHES)
    dropped = {("own", "none"): (1.0, 1.0, None), ("dropped", "none"): (0.91, 0.22, 0.77, 0.88)}
    tied = {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2, "n": N, "noise": NOISY / N, "evaluated": dropped}
    made.training(**tied)
    made.training(**{**tied, "epochs": 40})  # another network
    found = table(made, EXHIBITS["beside"])
    values = {name: [cell.split()[0] for cell in cells] for name, cells in found.items()}
    assert values == {
        "the network as it is": ["0.990", "1.000", "0.900", "0.980"],
        "curvature edit, ρ = 0.9": ["0.995", "0.070", "0.900", "0.980"],
        "edit by inputs alone, ρ = 0.9": ["0.990", "0.060", "0.900", "0.980"],
        "early stopping": ["0.990", "0.020", "0.900", "0.900"],
        "flips: neurons of one mislabeled example closed": ["0.800", "0.700", "0.500", "0.600"],
        "example-tied dropout, p_gen 0.3, p_mem 0.2, dropped": ["0.910", "0.220", "0.880", "0.770"],
    }


def test_a_line_counts_the_examples_of_the_trainings_that_have_a_value_there(made: Simulated) -> None:
    """The other training has one ρ less; its own mislabeled examples are others."""
    (one,), (other,) = trained(made, 1), trained(made, 1, data_seed=1)
    edit(made, one, {("kfac", 0.8): noisy(0.1), ("kfac", 0.9): (0.995, 0.1, 0.9, 0.98)})
    edit(made, other, {("kfac", 0.9): (0.995, 0.1, 0.9, 0.98)})
    (traded,) = [c for s in made.drawn(EXHIBITS["exchange"]) for c in s.charts]
    assert isinstance(traded, Curves)
    (line,) = next(iter(traded.panels.values()))
    for value, n in zip(line.values, (NOISY, 2 * NOISY), strict=True):
        wilson = stats.binomtest(n // 10, n).proportion_ci(0.95, "wilson")
        assert value is not None
        assert (value.lo, value.hi) == pytest.approx((wilson.low, wilson.high))


def test_two_seeds_say_little_of_their_spread(made: Simulated) -> None:
    for trial, value in zip(trained(made, 2), (0.05, 0.09), strict=True):
        edit(made, trial, {("kfac",): noisy(value)})
    found = made.judged()["K4.seeds"]
    assert (found.verdict, found.leans) == ("inconclusive", "for")
