"""B1, B2, K1 and their figures on depths that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from memloc.analysis.reading import run_sql
from memloc.commands import summary
from memloc.papers import agreement
from memloc.papers.baldock2021 import PAPER
from memloc.papers.charts import Dots, Heat
from memloc.papers.exhibits import Exhibit
from tests.papers.maini2023.simulated import Simulated

SITES = ("input", "conv1", "res1", "softmax")
N, NOISY = 200, 20
OUTSIDE = "SELECT one, other FROM atlas_agreement WHERE rho NOT BETWEEN lo AND hi"
DEPTH, WHERE, ATLAS, PROBES = [e for section in PAPER.sections for e in section.exhibits]


@pytest.fixture
def made(tmp_path: Path) -> Simulated:
    simulated = Simulated(tmp_path)
    simulated.paper = PAPER
    return simulated


def probed(made: Simulated, trial: str, columns: Mapping[str, Any], true: Sequence[float], epoch: int = 50) -> None:
    """Depths at an epoch; true: the share of mislabeled ones to which subspaces give their true label."""
    rows = {"epoch": [epoch] * N, "example": np.arange(N), **columns}
    sites = {
        "epoch": [epoch] * 2 * len(SITES),
        "depth": [number for number in range(len(SITES)) for _ in range(2)],
        "site": [site for site in SITES for _ in range(2)],
        "probe": ["knn", "masc"] * len(SITES),
        "clean_acc": [0.9, 0.8] * len(SITES),
        "noisy_acc": [0.1, 0.2] * len(SITES),
        "noisy_true_acc": [value for one in true for value in (0.5, one)],
    }
    config = {"epochs": [epoch], "neighbours": 10, "support": 5000}
    made.analysis(trial, "depth", config, depth=rows, probes=sites)


def drawn(seed: int, noisy: float, pixels: float) -> dict[str, np.ndarray]:
    """Depths of clean examples around 1, of mislabeled around `noisy`; pixels: how much less these agree at the input."""
    generator, wrong = np.random.default_rng(seed), np.arange(N) < NOISY
    depth = generator.poisson(np.where(wrong, noisy, 1.0)).clip(0, 4)
    return {
        "depth": depth,
        "agreement": generator.uniform(0, 1, N) - 0.6 * wrong,
        "input_agreement": generator.uniform(0, 1, N) - pixels * wrong,
    }


def test_mislabeled_examples_are_resolved_later(made: Simulated) -> None:
    several = [drawn(seed, 3.0, 0.0) for seed in range(5)]
    for seed, columns in enumerate(several):
        probed(made, made.training(seed=seed, n=N), columns, (0.4, 0.9, 0.8, 0.0))
    found, wrong = made.judged(), np.arange(N) < NOISY
    expected = np.mean([c["depth"][wrong].mean() - c["depth"][~wrong].mean() for c in several])
    assert found["B1"].verdict == "holds"
    assert found["B1"].ours == pytest.approx(expected)
    for part, column, sign in (("depth", "depth", 1), ("neighbours", "agreement", -1), ("input", "input_agreement", -1)):
        expected = np.mean([roc_auc_score(wrong, sign * c[column]) for c in several])
        assert found[f"B2.{part}"].ours == pytest.approx(expected)
    assert found["B2.gain"].ours == pytest.approx(found["B2.depth"].ours - found["B2.input"].ours)
    assert [found[f"B2.{part}"].verdict for part in ("depth", "gain")] == ["holds", "holds"]
    assert found["B2.input"].verdict not in ("holds", "does_not_hold")  # nothing is decided on a control
    assert (found["K1"].verdict, found["K1"].ours) == ("holds", pytest.approx(0.9))
    assert "at conv1, the best of 2 layers (at input 0.400, at softmax 0.000)" in found["K1"].reason
    with closing(made.reader()) as reader:  # the closing summary of a sweep says the same
        told, _, _ = summary._read(reader)
    later = found["B1"].ours
    assert told["Prediction depth (Baldock et al.)"][0][1].startswith(f"Mislabeled examples are resolved {later:.1f} [")


def test_what_pixels_tell_as_well_is_no_gain(made: Simulated) -> None:
    """Depths as large for clean examples; pixels that find the mislabeled ones; labels that no hidden layer gives."""
    for seed in range(5):
        probed(made, made.training(seed=seed, n=N), drawn(seed, 0.5, 0.95), (0.9, 0.1, 0.2, 0.0))
    found = made.judged()
    assert found["B1"].verdict == "does_not_hold"
    assert found["B2.gain"].verdict == "does_not_hold"
    assert (found["K1"].verdict, found["K1"].ours) == ("does_not_hold", pytest.approx(0.2))


def test_other_epochs_do_not_count(made: Simulated) -> None:
    probed(made, made.training(n=N), drawn(0, 3.0, 0.0), (0.5,) * 4, epoch=20)
    assert {found.verdict for found in made.judged().values()} == {"not_testable"}


def chart(made: Simulated, exhibit: Exhibit, title: str) -> Dots:
    (found,) = [one for one in made.shown(exhibit).charts if one.title.startswith(title)]
    assert isinstance(found, Dots)
    return found


def values(dots: Dots, name: str) -> dict[str, float]:
    return {row: round(one.value, 9) for row, one in zip(dots.rows, dots.values[name], strict=True) if one is not None}


def test_the_figures(made: Simulated) -> None:
    trial, columns = made.training(n=N), drawn(0, 3.0, 0.0)
    probed(made, trial, columns, (0.4, 0.9, 0.8, 0.0))
    wrong = np.arange(N) < NOISY
    counted = {k: float(np.mean(columns["depth"][wrong] == k)) for k in range(5)}
    by_depth = chart(made, DEPTH, "Where examples are resolved")
    assert values(by_depth, "noisy") == pytest.approx(dict(zip((*SITES, "not resolved"), counted.values(), strict=True)))
    assert sum(values(by_depth, "clean").values()) == pytest.approx(1.0)
    masc = chart(made, PROBES, "Nearest subspaces")
    assert values(masc, "noisy, true label") == dict(zip(SITES, (0.4, 0.9, 0.8, 0.0), strict=True))
    assert values(masc, "clean") == dict.fromkeys(SITES, 0.8)
    # Nothing else was run: the two views are one.
    (only,) = made.shown(WHERE).charts
    assert only.rows == ["conv1", "res1", "softmax"]


def test_probes_count_the_examples_of_the_trainings_that_have_a_value_there(made: Simulated) -> None:
    """Nobody knows the true labels of the other training, whose mislabeled examples are others."""
    for data_seed, true in ((0, (0.4, 0.9, 0.8, 0.5)), (1, (None,) * 4)):
        probed(made, made.training(n=N, data_seed=data_seed), drawn(0, 3.0, 0.0), true)  # type: ignore[arg-type]
    masc = chart(made, PROBES, "Nearest subspaces")
    for name, share, n in (("noisy, true label", 0.9, NOISY), ("noisy", 0.2, 2 * NOISY), ("clean", 0.8, 2 * (N - NOISY))):
        quantity = masc.values[name][1]
        limits = binomtest(round(share * n), n).proportion_ci(0.95, "wilson")
        assert quantity is not None
        assert quantity.examples is not None
        assert quantity.examples(0.95) == pytest.approx((limits.low, limits.high)), name


def test_the_two_views_of_where_have_the_same_networks(made: Simulated) -> None:
    """Rewinding, retraining and flips of trainings that were probed stand beside them; those of other trainings do not."""
    trial, other = made.training(n=N), made.training(n=N, lr=0.05)
    probed(made, trial, drawn(0, 3.0, 0.0), (0.4, 0.9, 0.8, 0.0))
    left = {"conv1": 0.9, "res1.conv1": 0.7, "res1.conv2": 0.4, "linear": 1.0}
    for one, less in ((trial, 0.0), (other, 0.3)):
        made.rewind(one, {layer: max(0.0, value - less) for layer, value in left.items()})
        made.retrain(one, {layer: [0.1, value - less / 2, 0.2] for layer, value in left.items()})
    rewinding = chart(made, WHERE, "Lost when set back")
    (name, *_) = rewinding.values
    assert values(rewinding, name) == {layer: round(1 - value, 9) for layer, value in left.items()}
    retraining = chart(made, WHERE, "Not found again")
    assert values(retraining, "noisy") == {layer: round(1 - value, 9) for layer, value in left.items()}
    atlas = made.shown(ATLAS)
    (matrix,) = atlas.charts
    assert isinstance(matrix, Heat)
    assert (matrix.rows, matrix.columns) == (["retraining", "rewinding"], ["depth", "retraining"])
    ((first, none), (second, same)) = matrix.panels[""]
    assert none is None  # a method beside itself
    assert same.value == 1.0  # what is lost is what is not found again
    rho = {(r["one"], r["other"]): r["rho"] for r in run_sql(made.store, "SELECT * FROM atlas_agreement").to_pylist()}
    assert (first.value, second.value) == (rho["depth", "retraining"], rho["depth", "rewinding"])
    (outside,) = atlas.tables
    beyond = {(r["one"], r["other"]) for r in run_sql(made.store, OUTSIDE).to_pylist()}
    assert {tuple(row[1:3]) for row in outside.rows} == beyond
    one = pd.DataFrame({"rho": [0.3], "lo": [-0.4], "hi": [0.4]})
    assert not agreement._stands_out(one)
    assert agreement._stands_out(pd.concat([one] * 4))  # the mean of four is within ±0.2 by chance
    resolved = chart(made, WHERE, "Resolved here")
    assert resolved.rows == ["conv1", "res1", "linear"]
    assert rewinding.rows == list(left)
