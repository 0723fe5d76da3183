"""A chart in Vega-Lite: dots, heat maps and images; lines are in `curves`."""

from __future__ import annotations

import base64
import math
from typing import Any

import altair

from memloc.papers.charts import Chart, Curves, Dots, Gallery, Heat
from memloc.report import curves, vega
from memloc.report.palette import DIVERGING

alt: Any = altair


def drawing(chart: Chart) -> vega.Drawing:
    """The chart in Vega-Lite. Its numbers are those of the chart, to the last bit."""
    if isinstance(chart, Curves):
        return curves.drawn(chart)
    if isinstance(chart, Dots):
        return _dots(chart)
    return _heat(chart) if isinstance(chart, Heat) else _gallery(chart)


def _dots(chart: Dots) -> vega.Drawing:
    names = list(chart.values)
    rows: list[list[Any]] = []
    for name, cells in chart.values.items():
        for row, value in zip(chart.rows, cells, strict=True):
            if value is not None:
                rows.append([row, name, None, *value.printed, value.k])
                rows += [[row, name, k, v, None, None, value.k] for k, v in vega.each_of(value.each)]
    limits, by_set = chart.x_range, vega.by_set(names, len(names) > 1)
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False) if limits else alt.Scale(zero=True)
    axis = alt.Axis(domain=False, ticks=False, grid=True, labelPadding=9)
    apart = {"yOffset": alt.YOffset("set:N", sort=names)} if len(names) > 1 else {}
    base = vega.base(
        y=alt.Y("row:N", sort=list(chart.rows), title=None, axis=axis), color=by_set(alt.Color, "colour"), **apart
    )
    mean, shape = base.transform_filter(vega.ONE), by_set(alt.Shape, "mark")
    told = {
        "x": alt.X("value:Q", title=chart.x_label, scale=scale),
        "tooltip": vega.told(("row:N", "row"), ("set:N", "set")),
    }
    marks = []
    if any(row[-1] >= vega.BANDS for row in rows):
        whisker = mean.transform_filter(vega.WIDE).mark_rule(strokeWidth=1.6)
        marks.append(whisker.encode(x=alt.X("lo:Q", scale=scale), x2="hi"))
    if any(row[2] for row in rows):
        each = base.transform_filter(vega.EACH).mark_point(filled=True, size=22, **vega.seen(True, 0.6))
        tick = mean.transform_filter(vega.FEW).mark_tick(thickness=3, size=10, opacity=1)
        marks += [each.encode(**told, shape=shape), tick.encode(**told)]
    point = mean.transform_filter(f"!({vega.FEW})").mark_point(filled=True, size=48, opacity=1)
    marks += [point.encode(**told, shape=shape), *(vega.triangles(base, limits, "x", rows) if limits else ())]
    height = max(3, len(chart.rows)) * max(vega.ROW, 11 * len(names))
    return vega.finished(marks, height, [], ("row", "set", "training", "value", "lo", "hi", "trainings"), rows)


def _heat(chart: Heat) -> vega.Drawing:
    rows = [
        [panel, row, column, None, *value.printed, value.k]
        for panel, lines in chart.panels.items()
        for row, values in zip(chart.rows, lines, strict=True)
        for column, value in zip(chart.columns, values, strict=True)
        if value is not None
    ]
    colours = [c for half in DIVERGING for c in half]
    steps = [round(-1 + 2 * k / (len(colours) - 1), 3) for k in range(len(colours))]
    scale = alt.Scale(domain=steps, range=colours)
    legend = alt.Legend(orient="top", gradientLength=180, gradientThickness=10, values=[-1, -0.5, 0, 0.5, 1], format="~g")
    cells = vega.base(
        x=alt.X("column:O", title=chart.x_label, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:N", sort=list(chart.rows), title=None, axis=alt.Axis(ticks=False, domain=False)),
    )
    told = vega.told(("row:N", "row"), ("column:O", chart.x_label))
    colour = alt.Color("value:Q", title=chart.label, scale=scale, legend=legend)
    wide = f"{'child_width' if len(chart.panels) > 1 else 'width'} >= {34 * len(chart.columns)} ? 10 : 0"
    ink = {"condition": {"test": "datum.value < -0.775 || datum.value > 0.615", "value": "#ffffff"}, "value": "#000000"}
    words = cells.mark_text(fontSize={"expr": wide}).encode(text=alt.Text("value:Q", format=".2f"), color=ink)
    marks = [cells.mark_rect().encode(color=colour, tooltip=told), words]
    fields = ("panel", "row", "column", "training", "value", "lo", "hi", "trainings")
    return vega.finished(marks, vega.ROW * max(2, len(chart.rows)), list(chart.panels), fields, rows)


def _gallery(chart: Gallery) -> vega.Drawing:
    """For documents; a page has the images themselves. Eight in a line."""
    rows = []
    for k, picture in enumerate(chart.pictures):
        place = [70 * (k % 8) + 32, 84 * (k // 8) + 32]
        rows.append(["data:image/png;base64," + base64.b64encode(picture.png).decode(), picture.words, *place])
    at = {"x": alt.X("x:Q", axis=None, scale=None), "y": alt.Y("y:Q", axis=None, scale=None)}
    images = alt.Chart().mark_image(width=60, height=60, smooth=False).encode(url="url:N", **at)
    words = alt.Chart().mark_text(dy=39, fontSize=9).encode(text="words:N", **at)
    return vega.finished([images, words], 84 * math.ceil(len(rows) / 8), [], ("url", "words", "x", "y"), rows)
