"""Charts and tables as data: numbers, names and units; and lines from rows. memloc/report draws them.

A line has one value per training, and the estimate over the trainings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd

from memloc.statistics import Interval
from memloc.statistics.quantities import share
from memloc.statistics.trainings import OverTrainings

Quantity: TypeAlias = Callable[[list[float]], OverTrainings]  # from one finite value per training
Examples: TypeAlias = Callable[[tuple[str, ...]], int | None]  # how many distinct examples trainings have; None: not known

BANDS = 5  # the fewest trainings that are drawn as a band with whiskers, and not as themselves


@dataclass(frozen=True)
class Line:
    """A line over a number, for one set of examples.

    x: in order. each: one sequence per training, along x, None where the training has no value. values: along x, the
    estimate over the trainings with its 95 % interval, None where there is none. trainings: along x, how many there are; by
    default as many as `each` has values. A line of many need not say the value of each, since it is not drawn.
    """

    name: str
    x: Sequence[float]
    each: Sequence[Sequence[float | None]]
    values: Sequence[Interval | None]
    trainings: Sequence[int] | None = None

    def count(self, place: int) -> int:
        """The number of trainings at a place of x: not every training has a value at each."""
        if self.trainings is not None:
            return self.trainings[place]
        return sum(values[place] is not None for values in self.each)


@dataclass(frozen=True)
class Curves:
    """Lines over a number. panels: {title: its lines}, facets with the same axes; a single panel may have no title.

    title: what tells this chart from the others of its exhibit; "" if there is one. sql: returns the rows behind it.
    y_range: the axis; None fits it to the data. Lines are cut outside of it. steps: a value holds until the next x. log_y:
    the axis is logarithmic. rule: (y, its name), a horizontal line to compare with.
    """

    title: str
    panels: Mapping[str, Sequence[Line]]
    x_label: str
    y_label: str
    sql: str = ""
    y_range: tuple[float, float] | None = None
    steps: bool = False
    log_y: bool = False
    rule: tuple[float, str] | None = None


@dataclass(frozen=True)
class Dots:
    """A quantity per row and set of examples. rows: names, from top to bottom. values: {set: one quantity per row}.

    x_range: the axis; None: from 0 to what fits the data.
    """

    title: str
    rows: Sequence[str]
    values: Mapping[str, Sequence[OverTrainings | None]]
    x_label: str
    sql: str = ""
    x_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Heat:
    """A quantity in [−1, 1] per row and column. panels: {title: rows of columns}, facets with the same axes.

    x_label, y_label: what a column is, and what a row is.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[int] | Sequence[str]
    panels: Mapping[str, Sequence[Sequence[OverTrainings | None]]]
    x_label: str
    label: str
    sql: str = ""
    y_label: str = "layer"


@dataclass(frozen=True)
class Picture:
    """An image of the data set. png: its bytes. words: its caption. example: its id, for a link to the explorer."""

    png: bytes
    words: str
    example: int


@dataclass(frozen=True)
class Gallery:
    """Images, the most telling first."""

    title: str
    pictures: Sequence[Picture]
    sql: str = ""


@dataclass(frozen=True)
class Table:
    """A table of text. head: column names. rows: the first cell names the row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    sql: str = ""


Chart: TypeAlias = Curves | Dots | Heat | Gallery


# --- from rows --------------------------------------------------------------------------------------------------------


def line(name: str, table: pd.DataFrame, quantity: Quantity) -> Line:
    """A line with a value per training.

    Args:
        table: trainings × x, in order of x; NaN where a training has no value.
        quantity: how the trainings' values make an estimate, for example `mean_of_trainings`.
    """
    return _line(name, table, [over(table[x], quantity) for x in table.columns])


def line_of_shares(name: str, table: pd.DataFrame, examples: Examples) -> Line:
    """As `line`, for shares of examples. Each estimate counts the examples of those trainings that have a value there."""
    return _line(name, table, [share_over(table[x], examples) for x in table.columns])


def _line(name: str, table: pd.DataFrame, cells: Sequence[OverTrainings | None]) -> Line:
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


def share_over(values: pd.Series[float], examples: Examples) -> OverTrainings | None:
    """A share of examples over the trainings that have it; None if none has. values: by training."""
    known = {str(trial): float(v) for trial, v in values.items() if math.isfinite(v)}
    return share([*known.values()], examples((*known,))) if known else None


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
