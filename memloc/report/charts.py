"""Charts as data, without their drawing: numbers, names and units. `draw` and `interactive` draw the same charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memloc.statistics import Interval


@dataclass(frozen=True)
class Series:
    """Values of one set of examples, each with its interval over seeds. x and values are of one length, in order of x."""

    name: str
    x: Sequence[float]
    values: Sequence[Interval]


@dataclass(frozen=True)
class Curves:
    """Lines over a number. panels: {title: its lines}, small multiples on the same axes; a single panel may have no title.

    y_range: the axis; None fits it to the data. Lines are cut outside of it. steps: a value holds until the next x. log_y:
    the axis is logarithmic. rule: (y, its name), a horizontal line to compare with.
    """

    title: str
    panels: Mapping[str, Sequence[Series]]
    x_label: str
    y_label: str
    y_range: tuple[float, float] | None = None
    steps: bool = False
    log_y: bool = False
    rule: tuple[float, str] | None = None


@dataclass(frozen=True)
class Dots:
    """A value with its interval per row and series. rows: names from top to bottom. values: {series: one per row}."""

    title: str
    rows: Sequence[str]
    values: Mapping[str, Sequence[Interval | None]]
    x_label: str
    x_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Heat:
    """A value in [−1, 1] per row and column, None where there is none."""

    title: str
    rows: Sequence[str]
    columns: Sequence[int]
    values: Sequence[Sequence[Interval | None]]
    x_label: str
    label: str


@dataclass(frozen=True)
class Picture:
    """png: an image of the data set. words: its caption."""

    png: bytes
    words: str


@dataclass(frozen=True)
class Gallery:
    title: str
    pictures: Sequence[Picture]


Chart: TypeAlias = Curves | Dots | Heat | Gallery


@dataclass(frozen=True)
class Table:
    """A table of text. head: column names. rows: the first cell names the row."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Number:
    """One number of an exhibit. paper: the number as the paper prints it; None if it has none."""

    name: str
    ours: str
    paper: str | None = None


@dataclass(frozen=True)
class Exhibit:
    """A figure or table of the paper, from the store's data.

    id: `fig01`, `table1`: the name of its files. section: that of the paper. shows: what one should see. seeds: how many
    trainings stand behind each point. setting: how its trainings differ from the paper's, or that they do not. note: further
    differences, or what is missing. sql: the queries behind its numbers. command: runs the paper's own exhibit, after
    `first` if there is one. Without charts and tables the exhibit is "not run". left_out: how many settings of the store the
    page does not show.
    """

    id: str
    name: str
    title: str
    section: str
    shows: str
    command: str
    first: str = ""
    sql: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    numbers: Sequence[Number] = ()
    seeds: str = ""
    setting: str = ""
    note: str = ""
    left_out: int = 0

    @property
    def run(self) -> bool:
        return bool(self.charts or self.tables)

    @property
    def stands_in(self) -> bool:
        """Is any of its settings not the paper's?"""
        return self.setting.startswith("Not")
