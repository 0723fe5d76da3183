"""Charts as Vega-Lite: a specification whose width is open, and the rows that it draws.

Up to four trainings are drawn as themselves. Bands and whiskers are drawn from five on: with fewer, an interval is so wide
that it hides the values. A triangle at the edge says that a value, or an interval that is drawn, goes beyond the axis.
"""

from __future__ import annotations

import base64
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import altair

from memloc.papers.charts import Chart, Curves, Dots, Gallery, Heat
from memloc.report.palette import DIVERGING, looks
from memloc.statistics import Interval

Rows: TypeAlias = Sequence[Sequence[Any]]

alt: Any = altair  # its stubs do not know all of its arguments

ROWS = alt.NamedData("rows")
BANDS = 5  # the fewest trainings with bands and whiskers
MARKED = 12  # the most points of a line that has a mark at each
HEIGHT, PANEL, ROW = 240, 120, 24  # pixels: a single chart, a facet, a row of dots or cells
NAME = 22  # letters of a name at the end of a line
FEW = f"datum.trainings > 1 && datum.trainings < {BANDS}"
ONE, EACH = "datum.training === null", "datum.training !== null"
WIDE = f"datum.trainings >= {BANDS} && isValid(datum.lo)"
INTERVAL = "isValid(datum.lo) ? format(datum.lo, '.4~g') + ' to ' + format(datum.hi, '.4~g') : 'none'"
WHOSE = "isValid(datum.training) ? datum.training + ' of ' + datum.trainings : 'mean of ' + datum.trainings"
# What an outside value is at: (its place on the axis, the triangle, the condition).
EDGES = (
    (0, "down", "left", "datum.value < {0} || {1} && datum.lo < {0}"),
    (1, "up", "right", "datum.value > {0} || {1} && datum.hi > {0}"),
)
STYLE = {
    "labelColor": "currentColor",
    "titleColor": "currentColor",
    "labelFontSize": 11,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
}
CONFIG: dict[str, Any] = {
    "aria": False,  # the picture has one label; one for each mark would double its size
    "background": None,
    "view": {"stroke": None},
    "axis": {**STYLE, "labelOverlap": "parity", "labelSeparation": 6, "labelLimit": 150}
    | {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "currentColor", "gridOpacity": 0.15},
    "legend": {**STYLE, "symbolOpacity": 1, "symbolSize": 70, "orient": "top", "labelLimit": 0},
    "header": {**STYLE, "labelFontSize": 12, "labelAnchor": "start", "labelPadding": 4},
    "text": {"color": "currentColor", "fontSize": 11},
}


@dataclass(frozen=True)
class Drawing:
    """A chart in Vega-Lite.

    spec: without width and data. fields, rows: the data. panels: facets; 1 if there are none. flat: narrow facets are lower.
    """

    spec: Mapping[str, Any]
    fields: Sequence[str]
    rows: Rows
    panels: int = 1
    flat: bool = False

    def whole(self, width: float, columns: int = 1) -> dict[str, Any]:
        """The specification with its data. width: of a facet, in pixels."""
        data = {"values": [dict(zip(self.fields, row, strict=True)) for row in self.rows]}
        if "facet" in self.spec:
            height = self.spec["spec"]["height"]
            size = {"width": width, "height": min(height, round(0.85 * width)) if self.flat else height}
            return {**self.spec, "data": data, "columns": columns, "spec": {**self.spec["spec"], **size}}
        return {**self.spec, "data": data, "width": width}


def drawing(chart: Chart) -> Drawing:
    """The chart in Vega-Lite. Its numbers are those of the chart, to the last bit."""
    if isinstance(chart, Curves):
        return _curves(chart)
    if isinstance(chart, Dots):
        return _dots(chart)
    return _heat(chart) if isinstance(chart, Heat) else _gallery(chart)


def _finished(marks: Sequence[Any], height: int, panels: Sequence[str], fields: Sequence[str], rows: Rows) -> Drawing:
    """The layers as a chart, with a facet for each panel if there are several. Each facet has its own numbers below it."""
    if len(panels) > 1:
        facet = alt.Facet("panel:N", title=None, sort=list(panels))
        layers = alt.layer(*marks).properties(height=height)
        built = layers.facet(facet=facet, columns=1, spacing=16, data=ROWS).resolve_axis(x="independent")
    else:
        built = alt.layer(*marks, data=ROWS).properties(height=height)
    specification = built.to_dict(validate=False, context={"pre_transform": False})
    for unused in ("config", "$schema", "data", "datasets"):
        specification.pop(unused, None)
    return Drawing(specification, fields, rows, max(1, len(panels)))


def _numbers(value: Interval | None, trainings: int) -> list[Any]:
    """The cells value, lo, hi, trainings."""
    return [None, None, None, trainings] if value is None else [value.value, value.lo, value.hi, trainings]


def _trainings(each: Sequence[float | None]) -> Iterator[tuple[int, float]]:
    """(its place, its value) of two to four trainings, which are drawn as themselves."""
    if 1 < len(each) < BANDS:
        yield from ((k, v) for k, v in enumerate(each, 1) if v is not None)


def _told(*own: tuple[str, str]) -> list[Any]:
    """What the pointer tells. own: (field, its name)."""
    fields = [*own, ("value:Q", "value"), ("interval:N", "95 % interval"), ("whose:N", "training")]
    return [alt.Tooltip(f, title=t, format=".4~g") if f == "value:Q" else alt.Tooltip(f, title=t) for f, t in fields]


def _by_set(names: Sequence[str], legend: bool) -> Callable[[Any, str], Any]:
    """Makes a channel that tells the sets apart: (kind of channel, field of a Look) → channel."""
    known = looks(names).values()

    def channel(kind: Any, field: str) -> Any:
        values = [list(v) if isinstance(v := getattr(look, field), tuple) else v for look in known]
        scale = alt.Scale(domain=list(names), range=values)
        return kind("set:N", title=None, scale=scale, legend=alt.Undefined if legend else None)

    return channel


def _base(**channels: Any) -> Any:
    return alt.Chart().transform_calculate(interval=INTERVAL, whose=WHOSE).encode(**channels)


def _triangles(base: Any, limits: tuple[float, float], axis: str, rows: Rows) -> list[Any]:
    """A triangle at the edge of the axis for what goes beyond it; nothing where all is within."""
    marks = []
    for end, upright, across, condition in EDGES:
        if any(v > limits[1] if end else v < limits[0] for v in _drawn(rows)):
            shape = f"triangle-{upright if axis == 'y' else across}"
            there = base.transform_filter(condition.format(repr(limits[end]), WIDE))
            mark = there.mark_point(filled=True, size=45, opacity=1, shape=shape)
            marks.append(mark.encode(y=alt.YDatum(limits[end])) if axis == "y" else mark.encode(x=alt.XDatum(limits[end])))
    return marks


def _drawn(rows: Rows) -> list[float]:
    """The values that are drawn, with the ends of the intervals that are drawn."""
    return [v for *_, value, lo, hi, k in rows for v in (value, *((lo, hi) if k >= BANDS else ())) if v is not None]


# --- curves -----------------------------------------------------------------------------------------------------------


def _curves(chart: Curves) -> Drawing:
    rows = list(_points(chart))
    names, single = list(dict.fromkeys(row[1] for row in rows)), len(chart.panels) == 1
    at_ends = single and all(len(name) <= NAME for name in names) and len(names) <= 6
    by_set = _by_set(names, len(names) > 1 and not at_ends)
    limits = chart.y_range or _limits(chart, rows)
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False, **({"type": "log"} if chart.log_y else {}))
    decades = {"values": _powers(limits), "format": "~g"} if chart.log_y else {}
    name = chart.y_label if single else textwrap.wrap(chart.y_label, 20)
    y = alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(**decades))
    base = _base(x=_x(chart, [row[2] for row in rows]), color=by_set(alt.Color, "colour"))
    told = _told(*[("panel:N", "panel")] * (not single), ("set:N", "set"), ("x:Q", chart.x_label))
    few = not chart.steps and max(len(line.x) for lines in chart.panels.values() for line in lines) <= MARKED
    marks = [*_rule(chart, scale), *_lines(base.encode(tooltip=told), chart, rows, (y, scale, few), by_set)]
    marks += [*_triangles(base, limits, "y", rows), *(_line_ends(chart, limits, scale) if at_ends else ())]
    height = HEIGHT if single else round(1.35 * PANEL) if len(chart.panels) <= 4 else PANEL
    fields = ("panel", "set", "x", "training", "value", "lo", "hi", "trainings")
    return replace(_finished(marks, height, list(chart.panels), fields, rows), flat=True)


def _lines(base: Any, chart: Curves, rows: Rows, y: tuple[Any, Any, bool], by_set: Callable[[Any, str], Any]) -> list[Any]:
    """Bands, trainings, means. y: the channel, its scale, and whether each point has a mark; else the pointer finds them."""
    at, scale, few = y
    curve = {"interpolate": "step-after"} if chart.steps else {}
    mean, each = base.transform_filter(ONE), base.transform_filter(EACH).encode(y=at)
    marks = []
    if any(row[-1] >= BANDS for row in rows):
        band = mean.transform_filter(WIDE).mark_area(fillOpacity=0.18, **curve)
        marks.append(band.encode(y=alt.Y("lo:Q", scale=scale), y2="hi", tooltip=alt.Undefined))
    if any(row[3] for row in rows):
        marks.append(each.mark_line(strokeWidth=1, strokeOpacity=0.6, **curve).encode(detail="training:N"))
        marks.append(each.mark_point(filled=True, size=9 if few else 30, **_seen(few, 0.7)))
    marks.append(mean.mark_line(strokeWidth=2.2, **curve).encode(y=at, strokeDash=by_set(alt.StrokeDash, "dash")))
    points = mean.mark_point(filled=True, size=34 if few else 60, **_seen(few, 1))
    return [*marks, points.encode(y=at, shape=by_set(alt.Shape, "mark"))]


def _seen(seen: bool, how: float) -> dict[str, float]:
    """The opacity of points. `opacity` itself would make a PDF ten times larger."""
    return {"opacity": 1, "fillOpacity": how} if seen else {"opacity": 0}


def _x(chart: Curves, xs: Sequence[float]) -> Any:
    whole = {"format": "d", "tickMinStep": 1} if all(float(x).is_integer() for x in xs) else {}
    scale = alt.Scale(domain=[min(xs), max(xs)], nice=False)
    return alt.X("x:Q", title=chart.x_label, axis=alt.Axis(**whole), scale=scale)


def _points(chart: Curves) -> Iterator[list[Any]]:
    for panel, lines in chart.panels.items():
        for line in lines:
            for k, x in enumerate(line.x):
                if line.values[k] is not None:
                    yield [panel, line.name, x, None, *_numbers(line.values[k], len(line.each))]
                for training, value in _trainings([values[k] for values in line.each]):
                    yield [panel, line.name, x, training, value, None, None, len(line.each)]


def _limits(chart: Curves, rows: Rows) -> tuple[float, float]:
    """An axis that holds all that is drawn."""
    drawn = [v for v in [*_drawn(rows), *([chart.rule[0]] if chart.rule else [])] if v > 0 or not chart.log_y]
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
        if name in known:
            look = {"shape": known[name].mark, "color": known[name].colour}
            marks.append(once.mark_point(filled=True, size=34, opacity=1, xOffset=9, **look))
        marks.append(once.mark_text(align="left", dx=16, text=name))
        marks[-2:] = [m.encode(x=alt.value("width"), y=alt.YDatum(at, scale=scale)) for m in marks[-2:]]
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
    gap = 15 / HEIGHT * (high - low)
    heights: list[float] = []
    for at, _ in places:
        heights.append(max(at, heights[-1] + gap) if heights else at)
    for k in reversed(range(len(heights))):
        heights[k] = min(heights[k], high - gap * (len(heights) - 1 - k))
    return [(name, 10**at if chart.log_y else at) for (_, name), at in zip(places, heights, strict=True)]


# --- dots, heat maps and images ---------------------------------------------------------------------------------------


def _dots(chart: Dots) -> Drawing:
    names, rows = list(chart.values), []
    for name, cells in chart.values.items():
        for row, value in zip(chart.rows, cells, strict=True):
            if value is not None:
                rows.append([row, name, None, *_numbers(value.printed, value.k)])
                rows += [[row, name, k, v, None, None, value.k] for k, v in _trainings(value.each)]
    limits, by_set = chart.x_range, _by_set(names, len(names) > 1)
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False) if limits else alt.Scale(zero=True)
    axis = alt.Axis(domain=False, ticks=False, grid=True, labelPadding=9)
    apart = {"yOffset": alt.YOffset("set:N", sort=names)} if len(names) > 1 else {}
    base = _base(y=alt.Y("row:N", sort=list(chart.rows), title=None, axis=axis), color=by_set(alt.Color, "colour"), **apart)
    mean, shape = base.transform_filter(ONE), by_set(alt.Shape, "mark")
    told = {"x": alt.X("value:Q", title=chart.x_label, scale=scale), "tooltip": _told(("row:N", "row"), ("set:N", "set"))}
    marks = []
    if any(row[-1] >= BANDS for row in rows):
        whisker = mean.transform_filter(WIDE).mark_rule(strokeWidth=1.6)
        marks.append(whisker.encode(x=alt.X("lo:Q", scale=scale), x2="hi"))
    if any(row[2] for row in rows):
        each = base.transform_filter(EACH).mark_point(filled=True, size=22, **_seen(True, 0.6))
        tick = mean.transform_filter(FEW).mark_tick(thickness=3, size=10, opacity=1)
        marks += [each.encode(**told, shape=shape), tick.encode(**told)]
    point = mean.transform_filter(f"!({FEW})").mark_point(filled=True, size=48, opacity=1)
    marks += [point.encode(**told, shape=shape), *(_triangles(base, limits, "x", rows) if limits else ())]
    height = max(3, len(chart.rows)) * max(ROW, 11 * len(names))
    return _finished(marks, height, [], ("row", "set", "training", "value", "lo", "hi", "trainings"), rows)


def _heat(chart: Heat) -> Drawing:
    rows = [
        [panel, row, column, None, *_numbers(value.printed, value.k)]
        for panel, lines in chart.panels.items()
        for row, values in zip(chart.rows, lines, strict=True)
        for column, value in zip(chart.columns, values, strict=True)
        if value is not None
    ]
    colours = [c for half in DIVERGING for c in half]
    steps = [round(-1 + 2 * k / (len(colours) - 1), 3) for k in range(len(colours))]
    scale = alt.Scale(domain=steps, range=colours)
    legend = alt.Legend(orient="top", gradientLength=180, gradientThickness=10, values=[-1, -0.5, 0, 0.5, 1], format="~g")
    cells = _base(
        x=alt.X("column:O", title=chart.x_label, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:N", sort=list(chart.rows), title=None, axis=alt.Axis(ticks=False, domain=False)),
    )
    told = _told(("row:N", "row"), ("column:O", chart.x_label))
    colour = alt.Color("value:Q", title=chart.label, scale=scale, legend=legend)
    wide = f"{'child_width' if len(chart.panels) > 1 else 'width'} >= {34 * len(chart.columns)} ? 10 : 0"
    ink = {"condition": {"test": "datum.value < -0.775 || datum.value > 0.615", "value": "#ffffff"}, "value": "#000000"}
    words = cells.mark_text(fontSize={"expr": wide}).encode(text=alt.Text("value:Q", format=".2f"), color=ink)
    marks = [cells.mark_rect().encode(color=colour, tooltip=told), words]
    fields = ("panel", "row", "column", "training", "value", "lo", "hi", "trainings")
    return _finished(marks, ROW * max(2, len(chart.rows)), list(chart.panels), fields, rows)


def _gallery(chart: Gallery) -> Drawing:
    """For documents; a page has the images themselves. Eight in a line."""
    rows = []
    for k, picture in enumerate(chart.pictures):
        place = [70 * (k % 8) + 32, 84 * (k // 8) + 32]
        rows.append(["data:image/png;base64," + base64.b64encode(picture.png).decode(), picture.words, *place])
    at = {"x": alt.X("x:Q", axis=None, scale=None), "y": alt.Y("y:Q", axis=None, scale=None)}
    images = alt.Chart().mark_image(width=60, height=60, smooth=False).encode(url="url:N", **at)
    words = alt.Chart().mark_text(dy=39, fontSize=9).encode(text="words:N", **at)
    return _finished([images, words], 84 * math.ceil(len(rows) / 8), [], ("url", "words", "x", "y"), rows)
