"""From rows to lines: the trainings' own values, and the estimate over those that have one."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from memloc.papers.charts import by_training, decades, line, line_of_shares, over
from memloc.statistics import student_interval
from memloc.statistics.quantities import accuracy, mean_of_trainings


def test_a_line_has_every_training_and_the_estimate_over_those_with_a_value() -> None:
    table = pd.DataFrame({1: [0.2, 0.4, 0.9], 3: [0.5, math.nan, 0.7], 4: [math.nan] * 3}, index=["a", "b", "c"])
    made = line("noisy", table, mean_of_trainings)
    assert (made.name, made.x) == ("noisy", [1.0, 3.0, 4.0])
    assert made.each == [[0.2, 0.5, None], [0.4, None, None], [0.9, 0.7, None]]
    for interval, known in zip(made.values[:2], ([0.2, 0.4, 0.9], [0.5, 0.7]), strict=True):
        assert interval is not None
        assert tuple(interval) == pytest.approx(tuple(student_interval(known) or ()))
    assert made.values[2] is None


def test_a_line_of_shares_counts_the_examples_of_those_with_a_value() -> None:
    table = pd.DataFrame({1: [0.2, 0.4], 3: [0.5, math.nan], 4: [math.nan] * 2}, index=["a", "b"])
    made = line_of_shares("noisy", table, {("a", "b"): 50, ("a",): 20}.__getitem__)
    assert (made.name, made.x, made.each) == ("noisy", [1.0, 3.0, 4.0], [[0.2, 0.5, None], [0.4, None, None]])
    both, alone = accuracy([0.2, 0.4], 50), accuracy([0.5], 20)
    assert made.values == [both.printed, alone.printed, None]


def test_infinite_values_do_not_count() -> None:
    assert over([math.nan, math.inf, -math.inf], mean_of_trainings) is None
    one = over([1.0, math.inf, 3.0], mean_of_trainings)
    assert one is not None
    assert one.each == (1.0, 3.0)


def test_a_table_has_a_row_for_each_training_and_the_columns_in_order() -> None:
    rows = [(t, e, t_value + e) for t, t_value in (("a", 0.0), ("b", 10.0)) for e in (5, 1)]
    made = by_training(pd.DataFrame(rows, columns=["trial", "epoch", "clean"]), "epoch", "clean")
    assert (list(made.index), list(made.columns)) == (["a", "b"], [1, 5])
    assert np.array_equal(made.to_numpy(), [[1, 5], [11, 15]])


def test_the_axis_of_powers_of_ten_holds_all_positive_values() -> None:
    assert decades([0.02, 3.0, 0.0, -1.0]) == (0.01, 10.0)
    assert decades([0.1]) == (0.1, 1.0)
    assert decades([5.0]) == (1.0, 10.0)
    assert decades([0.0]) is None
