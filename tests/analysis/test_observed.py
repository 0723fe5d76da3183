"""One setting with its rows: what it selects, how many examples it has, and values by training and example."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed, by_example, trials_of, two_sided
from tests.papers.maini2023.simulated import Simulated


def test_a_setting_has_its_own_rows_and_the_query_that_returns_them(tmp_path: Path) -> None:
    """Two widths; of one of them three trainings with two data seeds, each with 100 examples of which 10 are mislabeled."""
    made = Simulated(tmp_path)
    for seed, data_seed in ((0, 0), (1, 0), (0, 1)):
        made.rewind(made.training(seed=seed, data_seed=data_seed), {"b": 0.5, "a": 0.25})
    made.rewind(made.training(width=0.5), {"b": 0.75, "a": 0.5})
    with closing(made.reader()) as reader:
        observations = Observations(reader)
        (one,) = (Observed(observations, s) for s in observations.settings("rewind") if not s.deviations)
        rows, queried = one.dated("rewind"), observations.frame(one.select("rewind", "noisy_acc", "epoch < 50"))
        narrower = one.only(one.trials[:1])
        assert (len(one.trials), one.scope.dataset, one.sizes.clean) == (3, "cifar10", 90)
        assert (one.examples("clean"), one.examples("noisy"), narrower.examples("noisy")) == (180, 20, 10)
        assert sorted(rows["data_seed"].unique()) == [0, 1]
        assert sorted(rows[rows["epoch"] < 50]["noisy_acc"]) == list(queried["noisy_acc"]) == [0.25] * 9 + [0.5] * 9
        assert one.layers(["a", "b", "b.conv"]) == ["b", "b.conv", "a"]  # as the analysis lists them
        assert set(narrower.rows("rewind")["trial"]) == set(narrower.configs) == {one.trials[0]}


def test_how_many_test_images_a_setting_has(tmp_path: Path) -> None:
    """All of the data set's, or so many as its trainings take. A file of the user's need not be there any more."""
    made = Simulated(tmp_path)
    for fields in ({}, {"test_subset": 500}, {"dataset": "npz:mine.npz"}, {"dataset": "npz:mine.npz", "test_subset": 20}):
        made.rewind(made.training(**fields), {"a": 0.5})
    with closing(made.reader()) as reader:
        observations = Observations(reader)
        sizes = [Observed(observations, s).examples("test") for s in observations.settings("rewind")]
    assert sorted(sizes, key=str) == [10_000, 20, 500, None]


def test_values_by_training_and_example() -> None:
    """An example of another data seed is another one; repeats are averaged."""
    rows = [
        ("s", 0, 7, True, 1.0),
        ("s", 0, 7, True, 3.0),
        ("t", 0, 7, True, 4.0),
        ("t", 0, 8, False, 5.0),
        ("u", 1, 7, False, 6.0),
    ]
    frame = pd.DataFrame(rows, columns=["trial", "data_seed", "example", "noisy", "count"])
    values, noisy = by_example(frame, "count", "noisy")
    assert noisy.tolist() == [True, False, False]
    assert np.array_equal(values, [[2, np.nan, np.nan], [4, 5, np.nan], [np.nan, np.nan, 6]], equal_nan=True)
    assert trials_of(two_sided(frame, "noisy")) == ["t"]
    assert trials_of(frame) == ["s", "t", "u"]
