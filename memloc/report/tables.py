"""The numbers of a chart as a table, its gist in a sentence, and how a number is printed: everywhere in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from memloc.papers.charts import Chart, Curves, Dots, Gallery, Heat, Table
from memloc.papers.judgement import Judgement
from memloc.statistics import Interval
from memloc.statistics.trainings import OverTrainings

LONGEST = 200  # rows of one table; the download has them all


def number(value: float | None) -> str:
    """Three digits: `31.4`, `0.477`, `0.0123`; – where there is none."""
    if value is None:
        return "–"
    size = abs(value)
    digits = f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size >= 0.1 or size < 1e-12 else f"{value:.3g}"
    return digits.replace("-", "−")


def interval(value: Interval | None) -> str:
    """`0.477 [0.362, 0.592]`, or the estimate alone."""
    if value is None or value.lo is None or value.hi is None:
        return number(value and value.value)
    return f"{number(value.value)} [{number(value.lo)}, {number(value.hi)}]"


def scorecard(judgements: Sequence[Judgement]) -> Table:
    """All judged numbers, one row each."""
    rows = [
        [j.id, number(j.paper), interval(j.interval), j.verdict_in_words] for j in judgements if j.verdict != "not_run"
    ]
    return Table("Scorecard", ["id", "paper", "ours [95 %]", "verdict"], rows)


def as_table(chart: Chart) -> Table | None:
    """A table with one row per point, or per row of dots; None for images, and for more rows than people read."""
    if isinstance(chart, Gallery):
        return None
    table = _of_curves(chart) if isinstance(chart, Curves) else _of_dots(chart) if isinstance(chart, Dots) else _of_heat(chart)
    return table if len(table.rows) <= LONGEST else None


def _of_curves(chart: Curves) -> Table:
    names = list(dict.fromkeys(line.name for lines in chart.panels.values() for line in lines))
    rows = []
    for panel, lines in chart.panels.items():
        at = {line.name: dict(zip(line.x, line.values, strict=True)) for line in lines}
        for x in sorted({x for line in lines for x in line.x}):
            where = f"{panel}, {x:g}" if panel else f"{x:g}"
            rows.append([where, *(interval(at.get(name, {}).get(x)) for name in names)])
    return Table(chart.title or f"{chart.y_label} by {chart.x_label}", [chart.x_label, *names], rows)


def _of_dots(chart: Dots) -> Table:
    rows = [[row, *(_cell(values[k]) for values in chart.values.values())] for k, row in enumerate(chart.rows)]
    return Table(chart.title or chart.x_label, ["", *chart.values], rows)


def _of_heat(chart: Heat) -> Table:
    rows = [
        [f"{panel}: {row}" if panel else row, *(_cell(value) for value in values)]
        for panel, lines in chart.panels.items()
        for row, values in zip(chart.rows, lines, strict=True)
    ]
    return Table(chart.title or chart.label, [chart.x_label, *map(str, chart.columns)], rows)


def _cell(value: OverTrainings | None) -> str:
    return interval(value and value.printed)


def gist(chart: Chart) -> str:
    """What a screen reader says of the chart."""
    title = f"{chart.title}. " if chart.title else ""
    if isinstance(chart, Curves):
        parts = []
        for panel, lines in chart.panels.items():
            known = [(line.name, [v.value for v in line.values if v]) for line in lines]
            ends = "; ".join(f"{name} {number(v[0])} to {number(v[-1])}" for name, v in known if v)
            parts.append(f"{panel}: {ends}" if panel else ends)
        return f"{title}{chart.y_label} over {chart.x_label}, from first to last. {'. '.join(parts)}."
    if isinstance(chart, Dots):
        sets = []
        for name, several in chart.values.items():
            places = sorted((v.value, row) for v, row in zip(several, chart.rows, strict=True) if v is not None)
            if places:
                sets.append(f"{name} {' to '.join(f'{number(v)} ({row})' for v, row in dict.fromkeys((places[0], places[-1])))}")
        return f"{title}{chart.x_label}: {'; '.join(sets)}."
    if isinstance(chart, Heat):
        flat = [v.value for lines in chart.panels.values() for values in lines for v in values if v is not None]
        extent = f"from {number(min(flat))} to {number(max(flat))}" if flat else "nothing known"
        return f"{title}{chart.label} by layer and {chart.x_label}: {extent}."
    return f"{title}{len(chart.pictures)} images."
