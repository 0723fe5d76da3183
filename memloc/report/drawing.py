"""A chart in Vega-Lite: lines over a number, dots, heat maps and images."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import altair

from memloc.papers.charts import BANDS, Chart, Curves, Dots, Gallery, Heat
from memloc.report import vega
from memloc.report.offline import data_uri
from memloc.report.palette import DIVERGING, looks

alt: Any = altair

TICKS = 5  # the most numbers of a horizontal axis that all have ticks, and nothing else has


def drawing(chart: Chart) -> vega.Drawing:
    """The chart in Vega-Lite. Its numbers are those of the chart, to the last bit."""
    if isinstance(chart, Curves):
        return _curves(chart)
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
    if any(row[-1] >= BANDS for row in rows):
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
    named = any(isinstance(column, str) for column in chart.columns)  # names are wider than a cell
    order, angle = (list(chart.columns), -90) if named else ("ascending", 0)
    cells = vega.base(
        x=alt.X("column:O", sort=order, title=chart.x_label, axis=alt.Axis(labelAngle=angle, labelOverlap=not named)),
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
        rows.append([data_uri(picture.png), picture.words, *place])
    at = {"x": alt.X("x:Q", axis=None, scale=None), "y": alt.Y("y:Q", axis=None, scale=None)}
    images = alt.Chart().mark_image(width=60, height=60, smooth=False).encode(url="url:N", **at)
    words = alt.Chart().mark_text(dy=39, fontSize=9).encode(text="words:N", **at)
    return vega.finished([images, words], 84 * math.ceil(len(rows) / 8), [], ("url", "words", "x", "y"), rows)


# --- lines --------------------------------------------------------------------------------------------------------------


def _curves(chart: Curves) -> vega.Drawing:
    rows = list(_points(chart))
    names, single = list(dict.fromkeys(row[1] for row in rows)), len(chart.panels) == 1
    at_ends = single and all(len(name) <= vega.NAME for name in names) and len(names) <= 6
    by_set = vega.by_set(names, len(names) > 1 and not at_ends)
    limits = chart.y_range or _limits(chart, rows)
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False, **({"type": "log"} if chart.log_y else {}))
    decades = {"values": _powers(limits), "format": "~g"} if chart.log_y else {}
    name = chart.y_label if single else textwrap.wrap(chart.y_label, 20)
    y = alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(**decades))
    base = vega.base(x=_x(chart, [row[2] for row in rows]), color=by_set(alt.Color, "colour"))
    told = vega.told(*[("panel:N", "panel")] * (not single), ("set:N", "set"), ("x:Q", chart.x_label))
    few = not chart.steps and all(len(line.x) <= vega.MARKED for lines in chart.panels.values() for line in lines)
    marks = [*_rule(chart, scale), *_lines(base.encode(tooltip=told), chart, rows, (y, scale, few), by_set)]
    marks += [*vega.triangles(base, limits, "y", rows), *(_line_ends(chart, limits, scale) if at_ends else ())]
    height = vega.HEIGHT if single else round(1.35 * vega.PANEL) if len(chart.panels) <= 4 else vega.PANEL
    fields = ("panel", "set", "x", "training", "value", "lo", "hi", "trainings")
    return replace(vega.finished(marks, height, list(chart.panels), fields, rows, chart.x_label), flat=True)


def _lines(
    base: Any, chart: Curves, rows: vega.Rows, y: tuple[Any, Any, bool], by_set: Callable[[Any, str], Any]
) -> list[Any]:
    """Bands, trainings, means. y: the channel, its scale, and whether each point has a mark; else the pointer finds them."""
    at, scale, few = y
    curve = {"interpolate": "step-after"} if chart.steps else {}
    mean, each = base.transform_filter(vega.ONE), base.transform_filter(vega.EACH).encode(y=at)
    marks = []
    if any(row[-1] >= BANDS for row in rows):
        band = mean.transform_filter(vega.WIDE).mark_area(fillOpacity=0.18, **curve)
        marks.append(band.encode(y=alt.Y("lo:Q", scale=scale), y2="hi", tooltip=alt.Undefined))
    if any(row[3] for row in rows):
        marks.append(each.mark_line(strokeWidth=1, strokeOpacity=0.6, **curve).encode(detail="training:N"))
        marks.append(each.mark_point(filled=True, size=9 if few else 30, **vega.seen(few, 0.7)))
    marks.append(mean.mark_line(strokeWidth=2.2, **curve).encode(y=at, strokeDash=by_set(alt.StrokeDash, "dash")))
    points = mean.mark_point(filled=True, size=34 if few else 60, **vega.seen(few, 1))
    return [*marks, points.encode(y=at, shape=by_set(alt.Shape, "mark"))]


def _x(chart: Curves, xs: Sequence[float]) -> Any:
    """The horizontal axis. Whole numbers have no ticks between them; on short axes Vega's tickMinStep leaves halves.

    A few other numbers, such as widths, have the only ticks.
    """
    first, last = min(xs, default=0), max(xs, default=1)
    whole: dict[str, Any] = {"format": "d", "tickMinStep": 1} if all(float(x).is_integer() for x in xs) else {}
    if whole and last - first <= 2:
        whole["values"] = list(range(int(first), int(last) + 1))
    if not whole and not chart.steps and len(set(xs)) <= TICKS:
        whole |= {"values": sorted(set(xs)), "format": ".6~g"}  # else Vega writes a width of 0.25 as 0.3
    scale = alt.Scale(domain=[first, last], nice=False)
    title = chart.x_label if len(chart.panels) == 1 else None
    return alt.X("x:Q", title=title, axis=alt.Axis(**whole), scale=scale)


def _points(chart: Curves) -> Iterator[list[Any]]:
    for panel, lines in chart.panels.items():
        for line in lines:
            for k, x in enumerate(line.x):
                each, there = [values[k] for values in line.each], line.count(k)
                if (mean := line.values[k]) is not None:
                    yield [panel, line.name, x, None, *mean, there]
                for training, value in vega.each_of(each):
                    yield [panel, line.name, x, training, value, None, None, there]


def _limits(chart: Curves, rows: vega.Rows) -> tuple[float, float]:
    """An axis that holds all that is drawn."""
    drawn = [v for v in [*vega.extent(rows), *([chart.rule[0]] if chart.rule else [])] if v > 0 or not chart.log_y]
    low, high = min(drawn, default=0.1), max(drawn, default=1.0)
    if chart.log_y:
        return (low, high) if low < high else (low / 2, high * 2)
    margin = 0.04 * (high - low) or 0.5
    return low - (margin if low < 0 or low > margin else low), high + margin


def _powers(limits: tuple[float, float]) -> list[float]:
    low, high = (math.log10(v) for v in limits)
    return [10.0**k for k in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]


def _rule(chart: Curves, scale: Any) -> list[Any]:
    """The line to compare with, in every facet."""
    if chart.rule is None:
        return []
    once = alt.Chart().transform_aggregate(n="count()")
    return [once.mark_rule(strokeDash=[2, 2], color="currentColor").encode(y=alt.YDatum(chart.rule[0], scale=scale))]


def _line_ends(chart: Curves, limits: tuple[float, float], scale: Any) -> list[Any]:
    """The names of a single panel's lines at their ends, in their colours, each after its mark. The rule has no mark."""
    ends = line_ends(chart, limits)
    known = looks([name for name, _ in ends if not chart.rule or name != chart.rule[1]])
    once, marks = alt.Chart().transform_aggregate(n="count()"), []
    for name, at in ends:
        there = [once.mark_text(align="left", dx=16, text=name)]
        if name in known:
            look = {"shape": known[name].mark, "color": known[name].colour}
            there = [once.mark_point(filled=True, size=34, opacity=1, xOffset=9, **look), *there]
        marks += [mark.encode(x=alt.value("width"), y=alt.YDatum(at, scale=scale)) for mark in there]
    return marks


def line_ends(chart: Curves, limits: tuple[float, float]) -> list[tuple[str, float]]:
    """[(name, y)]: the places of the names of a single panel's lines and of its rule.

    They are at the ends of the lines, moved apart if they would touch, and within the axis's limits.
    """
    (lines,) = chart.panels.values()
    low, high = (math.log10(v) if chart.log_y else v for v in limits)
    last = [(one.name, next((v.value for v in reversed(one.values) if v), None)) for one in lines]
    known = [(name, min(max(v, limits[0]), limits[1])) for name, v in last if v is not None]
    known += [(chart.rule[1], chart.rule[0])] if chart.rule else []
    places = sorted((math.log10(v) if chart.log_y else v, name) for name, v in known)
    gap = 15 / vega.HEIGHT * (high - low)
    heights: list[float] = []
    for at, _ in places:
        heights.append(max(at, heights[-1] + gap) if heights else at)
    for k in reversed(range(len(heights))):
        heights[k] = min(heights[k], high - gap * (len(heights) - 1 - k))
    return [(name, 10**at if chart.log_y else at) for (_, name), at in zip(places, heights, strict=True)]
