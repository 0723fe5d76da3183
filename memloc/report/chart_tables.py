"""The numbers of a chart as a table, and its gist in a sentence, for screen readers and for people who want numbers."""

from __future__ import annotations

from memloc.report.charts import Chart, Curves, Dots, Gallery, Heat, Table
from memloc.report.setting_rows import in_words
from memloc.statistics import Interval

LONGEST = 200  # rows of one table; the query has them all


def as_table(chart: Chart) -> Table | None:
    """A table with one row per point, or per row of dots; None for images, and for more rows than people read."""
    if isinstance(chart, Curves):
        table = _of_curves(chart)
    elif isinstance(chart, Dots):
        head = ["", *chart.values]
        table = Table(
            chart.title, head, [[row, *(_cell(v[k]) for v in chart.values.values())] for k, row in enumerate(chart.rows)]
        )
    elif isinstance(chart, Heat):
        head = [chart.x_label, *map(str, chart.columns)]
        table = Table(
            chart.title,
            head,
            [[row, *(_cell(v, short=True) for v in cells)] for row, cells in zip(chart.rows, chart.values, strict=True)],
        )
    else:
        return None
    return table if len(table.rows) <= LONGEST else None


def _of_curves(chart: Curves) -> Table:
    names = list(dict.fromkeys(s.name for lines in chart.panels.values() for s in lines))
    rows = []
    for panel, lines in chart.panels.items():
        at = {s.name: dict(zip(s.x, s.values, strict=True)) for s in lines}
        for x in sorted({x for s in lines for x in s.x}):
            where = f"{panel}, {x:g}" if panel else f"{x:g}"
            rows.append([where, *(_cell(at.get(n, {}).get(x)) for n in names)])
    return Table(chart.title, [chart.x_label, *names], rows)


def _cell(value: Interval | None, short: bool = False) -> str:
    if value is None:
        return "–"
    if short:
        return f"{value.value:+.2f}".replace("-", "−")
    return in_words(value, 3 if abs(value.value) >= 0.1 else 5)


def gist(chart: Chart) -> str:
    """What a screen reader says of the chart."""
    if isinstance(chart, Curves):
        parts = []
        for panel, lines in chart.panels.items():
            ends = "; ".join(f"{s.name} {s.values[0].value:.3g} to {s.values[-1].value:.3g}" for s in lines if s.values)
            parts.append(f"{panel}: {ends}" if panel else ends)
        return f"{chart.title}. {chart.y_label} over {chart.x_label}, from first to last. {'. '.join(parts)}."
    if isinstance(chart, Dots):
        sets = []
        for name, intervals in chart.values.items():
            known = sorted((v.value, row) for v, row in zip(intervals, chart.rows, strict=True) if v is not None)
            if known:
                sets.append(f"{name} {known[0][0]:.3g} ({known[0][1]}) to {known[-1][0]:.3g} ({known[-1][1]})")
        return f"{chart.title}. {chart.x_label}: {'; '.join(sets)}."
    if isinstance(chart, Heat):
        flat = [v.value for intervals in chart.values for v in intervals if v is not None]
        extent = f"from {min(flat):.2f} to {max(flat):.2f}" if flat else "nothing known"
        return f"{chart.title}. {chart.label} by layer and {chart.x_label}: {extent}."
    assert isinstance(chart, Gallery)
    return f"{chart.title}. {len(chart.pictures)} images."
