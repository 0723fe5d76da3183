"""Charts as Vega-Lite: a specification whose width is open, and the rows that it draws.

Up to four trainings are drawn as themselves. Bands and whiskers are drawn from five on: with fewer, an interval is so wide
that it hides the values. A triangle at the edge says that a value, or an interval that is drawn, goes beyond the axis.
"""

from __future__ import annotations

import base64
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair

from memloc.papers.charts import Chart, Curves, Dots, Gallery, Heat, Line
from memloc.report.palette import DIVERGING, looks
from memloc.statistics import Interval

alt: Any = altair  # its stubs do not know all of its arguments

ROWS = alt.NamedData("rows")
BANDS = 5  # the fewest trainings with bands and whiskers
MARKED = 12  # the most points of a line that has a mark at each
HEIGHT, PANEL, ROW = 240, 120, 24  # pixels: a single chart, a facet, a row of dots or cells
NAME = 22  # letters of a name at the end of a line
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
    rows: Sequence[Sequence[Any]]
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


def _finished(marks: Sequence[Any], height: int, panels: Sequence[str], fields: Sequence[str], rows: list[Any]) -> Drawing:
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


def _base(names: Sequence[str], **channels: Any) -> Any:
    known = looks(names)
    scale = alt.Scale(domain=list(known), range=[look.colour for look in known.values()])
    colour = alt.Color("set:N", title=None, scale=scale, legend=alt.Undefined if channels.pop("legend") else None)
    return alt.Chart().transform_calculate(interval=INTERVAL, whose=WHOSE).encode(color=colour, **channels)


def _channel(kind: Any, names: Sequence[str], legend: bool, field: str) -> Any:
    """Shape or dash by set. field: of a Look."""
    values = [getattr(look, field) for look in looks(names).values()]
    scale = alt.Scale(domain=list(names), range=[list(v) if isinstance(v, tuple) else v for v in values])
    return kind("set:N", title=None, scale=scale, legend=alt.Undefined if legend else None)


def _triangles(base: Any, limits: tuple[float, float], axis: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
    """A triangle at the edge of the axis for what goes beyond it; nothing where all is within."""
    ends = [v for *_, value, lo, hi, k in rows for v in (value, *((lo, hi) if k >= BANDS else ())) if v is not None]
    marks = []
    for end, upright, across, condition in EDGES:
        if not any(v > limits[1] if end else v < limits[0] for v in ends):
            continue
        test = condition.format(repr(limits[end]), WIDE)
        mark = base.transform_filter(test).mark_point(
            filled=True, size=45, opacity=1, shape=f"triangle-{upright if axis == 'y' else across}", clip=False
        )
        marks.append(mark.encode(y=alt.YDatum(limits[end])) if axis == "y" else mark.encode(x=alt.XDatum(limits[end])))
    return marks


# --- curves -----------------------------------------------------------------------------------------------------------


def _curves(chart: Curves) -> Drawing:
    lines = [(panel, one) for panel, several in chart.panels.items() for one in several]
    names = list(dict.fromkeys(one.name for _, one in lines))
    limits, single = _limits(chart), len(chart.panels) == 1
    at_ends = single and all(len(name) <= NAME for name in names) and len(names) <= 6
    xs = [x for _, one in lines for x in one.x]
    whole = all(float(x).is_integer() for x in xs)
    axis = {"format": "d", "tickMinStep": 1} if whole else {}
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False, **({"type": "log"} if chart.log_y else {}))
    powers = {"values": _powers(limits), "format": "~g"} if chart.log_y else {}
    x = alt.X("x:Q", title=chart.x_label, axis=alt.Axis(**axis), scale=alt.Scale(domain=[min(xs), max(xs)], nice=False))
    name = chart.y_label if single else textwrap.wrap(chart.y_label, 20)
    y = alt.Y("value:Q", title=name, scale=scale, axis=alt.Axis(**powers))
    base = _base(names, x=x, legend=len(names) > 1 and not at_ends)
    curve = {"interpolate": "step-after"} if chart.steps else {}
    few = not chart.steps and max((len(one.x) for _, one in lines), default=0) <= MARKED
    shape, dash = (
        _channel(kind, names, len(names) > 1 and not at_ends, field)
        for kind, field in ((alt.Shape, "mark"), (alt.StrokeDash, "dash"))
    )
    own = [("panel:N", "panel")] * (not single) + [("set:N", "set"), ("x:Q", chart.x_label)]
    mean, each = base.transform_filter(ONE), base.transform_filter(EACH).encode(y=y)
    band = mean.transform_filter(WIDE).mark_area(opacity=0.18, **curve).encode(y=alt.Y("lo:Q", scale=scale), y2="hi")
    small = each.mark_point(filled=True, size=9 if few else 30, opacity=0.7 if few else 0)
    several = [each.mark_line(strokeWidth=1, opacity=0.55, **curve).encode(detail="training:N"), small.encode(tooltip=_told(*own))]
    rows = list(_points(lines))
    marks = [
        *_rule(chart, scale),
        *([band] if any(row[-1] >= BANDS for row in rows) else ()),
        *(several if any(row[3] for row in rows) else ()),
        mean.mark_line(strokeWidth=2.2, **curve).encode(y=y, strokeDash=dash),
        mean.mark_point(filled=True, size=34 if few else 60, opacity=1 if few else 0).encode(
            y=y, shape=shape, tooltip=_told(*own)
        ),
        *_triangles(base, limits, "y", rows),
        *(_line_ends(chart, limits, scale) if at_ends else ()),
    ]
    height = HEIGHT if single else round(1.35 * PANEL) if len(chart.panels) <= 4 else PANEL
    fields = ("panel", "set", "x", "training", "value", "lo", "hi", "trainings")
    return replace(_finished(marks, height, list(chart.panels), fields, rows), flat=True)


def _points(lines: Sequence[tuple[str, Line]]) -> Iterator[list[Any]]:
    for panel, one in lines:
        for k, x in enumerate(one.x):
            mean, trainings = one.values[k], len(one.each)
            if mean is not None:
                yield [panel, one.name, x, None, *_numbers(mean, trainings)]
            for training, value in _trainings([values[k] for values in one.each]):
                yield [panel, one.name, x, training, value, None, None, trainings]


def _limits(chart: Curves) -> tuple[float, float]:
    """The axis. One that is fitted holds all that is drawn."""
    if chart.y_range:
        return chart.y_range
    rows = list(_points([(panel, one) for panel, lines in chart.panels.items() for one in lines]))
    drawn = [v for *_, value, lo, hi, k in rows for v in (value, *((lo, hi) if k >= BANDS else ())) if v is not None]
    drawn = [v for v in [*drawn, *([chart.rule[0]] if chart.rule else [])] if v > 0 or not chart.log_y]
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
    names = list(chart.values)
    rows = []
    for name, values in chart.values.items():
        for row, value in zip(chart.rows, values, strict=True):
            if value is not None:
                rows.append([row, name, None, *_numbers(value.printed, value.k)])
                rows += [[row, name, k, v, None, None, value.k] for k, v in _trainings(value.each)]
    limits = chart.x_range
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False) if limits else alt.Scale(zero=True)
    y = alt.Y("row:N", sort=list(chart.rows), title=None, axis=alt.Axis(domain=False, ticks=False, grid=True, labelPadding=9))
    apart = {"yOffset": alt.YOffset("set:N", sort=names)} if len(names) > 1 else {}
    x = alt.X("value:Q", title=chart.x_label, scale=scale)
    base = _base(names, y=y, legend=len(names) > 1, **apart)
    shape = _channel(alt.Shape, names, len(names) > 1, "mark")
    told = _told(("row:N", "row"), ("set:N", "set"))
    mean = base.transform_filter(ONE)
    between = f"datum.trainings > 1 && datum.trainings < {BANDS}"
    whisker = mean.transform_filter(WIDE).mark_rule(strokeWidth=1.6).encode(x=alt.X("lo:Q", scale=scale), x2="hi")
    each = base.transform_filter(EACH).mark_point(filled=True, size=22, opacity=0.6)
    tick = mean.transform_filter(between).mark_tick(thickness=3, size=10, opacity=1)
    marks = [
        *([whisker] if any(row[-1] >= BANDS for row in rows) else ()),
        *([each.encode(x=x, shape=shape, tooltip=told), tick.encode(x=x, tooltip=told)] if any(row[2] for row in rows) else ()),
        mean.transform_filter(f"!({between})").mark_point(filled=True, size=48, opacity=1).encode(
            x=x, shape=shape, tooltip=told
        ),
        *(_triangles(base, limits, "x", rows) if limits else ()),
    ]
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
    cells = alt.Chart().transform_calculate(interval=INTERVAL, whose=WHOSE)
    cells = cells.encode(
        x=alt.X("column:O", title=chart.x_label, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("row:N", sort=list(chart.rows), title=None, axis=alt.Axis(ticks=False, domain=False)),
    )
    told = _told(("row:N", "row"), ("column:O", chart.x_label))
    colour = alt.Color("value:Q", title=chart.label, scale=scale, legend=legend)
    wide = f"{'child_width' if len(chart.panels) > 1 else 'width'} >= {34 * len(chart.columns)} ? 10 : 0"
    ink = {"condition": {"test": "datum.value < -0.77 || datum.value > 0.61", "value": "#ffffff"}, "value": "#000000"}
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
