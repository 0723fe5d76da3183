"""The numbers of a chart as a table, its gist in a sentence, and how a number is printed: everywhere in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from memloc.papers.charts import Chart, Curves, Dots, Heat, Table
from memloc.papers.judgement import Judgement
from memloc.report.vega import Drawing
from memloc.statistics import Interval

LONGEST = 200  # rows of one table; the download has them all


def number(value: float | None) -> str:
    """Three digits: `31.4`, `0.477`, `0.0120`; – where there is none."""
    if value is None:
        return "–"
    size = abs(value)
    digits = f"{value:.1f}" if size >= 10 else f"{value:.3f}" if size >= 0.1 or size < 1e-12 else f"{value:#.3g}"
    return digits.replace("-", "−")


def papers(value: float | None) -> str:
    """A number of the paper, with the digits that it has there: `5.1`, `0.9`; – where there is none."""
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def interval(value: Interval | None) -> str:
    """`0.477 [0.362, 0.592]`, or the estimate alone."""
    if value is None or value.lo is None or value.hi is None:
        return number(value and value.value)
    return f"{number(value.value)} [{number(value.lo)}, {number(value.hi)}]"


def scorecard(judgements: Sequence[Judgement]) -> Table:
    """All judged numbers, one row each."""
    rows = [[j.id, papers(j.paper), interval(j.interval), j.verdict_in_words] for j in judgements if j.verdict != "not_run"]
    return Table("Scorecard", ["id", "paper", "ours [95 %]", "verdict"], rows)


def as_table(title: str, drawing: Drawing) -> Table | None:
    """A table of the estimates of a chart; None for images, and for more rows than people read."""
    fields = list(drawing.fields)
    if "training" not in fields:
        return None
    keys = [k for k, field in enumerate(fields) if field in ("panel", "row", "x")]
    across, training = fields.index("column" if "column" in fields else "set"), fields.index("training")
    cells: dict[str, dict[str, str]] = {}
    for row in drawing.rows:
        if row[training] is None:
            name = ", ".join(row[k] if isinstance(row[k], str) else f"{row[k]:g}" for k in keys if row[k] != "")
            cells.setdefault(name, {})[str(row[across])] = interval(Interval(*row[-4:-1]))
    head = list(dict.fromkeys(name for known in cells.values() for name in known))
    rows = [[key, *(known.get(name, "–") for name in head)] for key, known in cells.items()]
    return Table(title, ["", *head], rows) if len(rows) <= LONGEST else None


def gist(chart: Chart) -> str:
    """What a screen reader says of the chart."""
    title = f"{chart.title}. " if chart.title else ""
    if isinstance(chart, Curves):
        parts = []
        for panel, lines in chart.panels.items():
            known = [(line.name, [v.value for v in line.values if v]) for line in lines]
            said = "; ".join(f"{name} {number(v[0])} to {number(v[-1])}" for name, v in known if v)
            parts.append(f"{panel}: {said}" if panel else said)
        return f"{title}{chart.y_label} over {chart.x_label}, from first to last. {'. '.join(parts)}."
    if isinstance(chart, Dots):
        sets = []
        for name, cells in chart.values.items():
            places = sorted((v.value, row) for v, row in zip(cells, chart.rows, strict=True) if v is not None)
            ends = dict.fromkeys((places[0], places[-1])) if places else ()
            sets.append(f"{name} {' to '.join(f'{number(v)} ({row})' for v, row in ends)}")
        return f"{title}{chart.x_label}: {'; '.join(sets)}."
    if isinstance(chart, Heat):
        flat = [v.value for lines in chart.panels.values() for values in lines for v in values if v is not None]
        extent = f"from {number(min(flat))} to {number(max(flat))}" if flat else "nothing known"
        return f"{title}{chart.label} by {chart.y_label} and {chart.x_label}: {extent}."
    return f"{title}{len(chart.pictures)} images."
