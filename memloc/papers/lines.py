"""From rows to the lines and cells of a chart: one value per training, and the estimate over the trainings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pandas as pd

from memloc.papers.charts import Line
from memloc.statistics.trainings import OverTrainings

Quantity: TypeAlias = Callable[[list[float]], OverTrainings]  # from one finite value per training


def line(name: str, table: pd.DataFrame, quantity: Quantity) -> Line:
    """A line with a value per training.

    Args:
        table: trainings × x, in order of x; NaN where a training has no value.
        quantity: how the trainings' values make an estimate, for example `mean_of_trainings`.
    """
    cells = [over(table[x], quantity) for x in table.columns]
    return Line(
        name,
        [float(x) for x in table.columns],
        [[float(v) if math.isfinite(v) else None for v in row] for row in table.to_numpy(dtype=np.float64)],
        [None if cell is None else cell.printed for cell in cells],
    )


def over(values: Iterable[float], quantity: Quantity) -> OverTrainings | None:
    """The estimate over the trainings that have a value; None if none has."""
    known = [float(v) for v in values if math.isfinite(v)]
    return quantity(known) if known else None


def by_training(frame: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Trainings × x: the values of a column. frame: one row per training and x."""
    table: pd.DataFrame = frame.pivot(index="trial", columns=x, values=y)
    return table


def decades(values: Iterable[float]) -> tuple[float, float] | None:
    """The powers of ten around positive values: a logarithmic axis. None without any."""
    known = [v for v in values if v > 0]
    if not known:
        return None
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return 10.0**low, 10.0 ** max(high, low + 1)
