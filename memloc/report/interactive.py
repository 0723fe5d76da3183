"""The same charts as Vega-Lite, which shows values and intervals under the pointer."""

from __future__ import annotations

import math
from typing import Any

import altair

from memloc.report.charts import Chart, Curves, Dots, Gallery, Heat
from memloc.report.draw import COLUMNS, line_ends
from memloc.report.palette import LOOKS
from memloc.statistics import Interval

alt: Any = altair  # its stubs know no keyword arguments in a dict, and no alt.Data

SHAPES = {"o": "circle", "D": "diamond", "s": "square", "^": "triangle-up", "v": "triangle-down"}
APART: dict[str, Any] = {"labelOverlap": "parity", "labelSeparation": 8}  # labels that would touch are left out
PANEL, SINGLE, ROW = (92, 56), (250, 165), 19  # pixels: a small multiple, a chart by itself, a row's height


def spec(chart: Chart) -> dict[str, Any] | None:
    """A Vega-Lite specification that holds its data; None for a chart without points."""
    if isinstance(chart, Gallery):
        return None
    built = _curves(chart) if isinstance(chart, Curves) else _dots(chart) if isinstance(chart, Dots) else _heat(chart)
    specification: dict[str, Any] = built.to_dict(format="vega-lite", context={"pre_transform": False})
    specification.pop("config", None)  # the page's, for all charts
    specification.pop("$schema", None)
    return specification


def _cells(value: Interval) -> dict[str, Any]:
    """Five digits: a chart shows three, and the last bits of a float would only make the page longer."""
    rounded = {"y": value.value, "lo": value.lo, "hi": value.hi}
    return {k: None if v is None else float(f"{v:.5g}") for k, v in rounded.items()}


def _tooltip(*fields: tuple[str, str, str]) -> list[Any]:
    numbers = [("y", "value", "quantitative"), ("lo", "from", "quantitative"), ("hi", "to", "quantitative")]
    return [
        alt.Tooltip(field=f, title=t, type=kind, format=".3~f" if kind == "quantitative" and f != "x" else alt.Undefined)
        for f, t, kind in (*fields, *numbers)
    ]


def _legend(names: list[str], shown: bool = True) -> Any:
    return alt.Legend(orient="top") if shown and len(names) > 1 else None


def _colour(names: list[str], legend: bool = True) -> Any:
    return alt.Color(
        field="series",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=names, range=[LOOKS[n].colour for n in names]),
        legend=_legend(names, legend),
    )


def _shape(names: list[str], legend: bool = True) -> Any:
    return alt.Shape(
        field="series",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=names, range=[SHAPES[LOOKS[n].mark] for n in names]),
        legend=_legend(names, legend),
    )


def _curves(chart: Curves) -> Any:
    rows = [
        {"panel": panel, "series": s.name, "x": x, **_cells(v)}
        for panel, lines in chart.panels.items()
        for s in lines
        for x, v in zip(s.x, s.values, strict=True)
    ]
    names = list(dict.fromkeys(s.name for lines in chart.panels.values() for s in lines))
    single = len(chart.panels) == 1
    limits = chart.y_range or _limits(chart)
    scale = alt.Scale(domain=list(limits), clamp=True, nice=False, **({"type": "log"} if chart.log_y else {}))
    axis = alt.Axis(tickCount=5 if single else 3, **APART)
    of_y = alt.Axis(values=_powers(limits), format="~g", **APART) if chart.log_y else axis
    x = alt.X(field="x", type="quantitative", title=chart.x_label if single else None, axis=axis)
    y = alt.Y(field="y", type="quantitative", title=chart.y_label if single else None, scale=scale, axis=of_y)
    curve = {"interpolate": "step-after"} if chart.steps else {}
    base = alt.Chart().encode(x=x, color=_colour(names, not single))
    dash = alt.StrokeDash(
        field="series",
        type="nominal",
        title=None,
        scale=alt.Scale(domain=names, range=[list(LOOKS[n].dash) or [1, 0] for n in names]),
        legend=_legend(names, not single),
    )
    band = base.mark_area(opacity=0.18, **curve).encode(y=alt.Y(field="lo", type="quantitative", scale=scale), y2="hi")
    line = base.mark_line(strokeWidth=2, **curve).encode(y=y, strokeDash=dash)
    points = _points(base, chart, single).encode(y=y, shape=_shape(names, not single))
    width, height = SINGLE if single else PANEL
    marks = [*_rule(chart, scale), band, line, points, *(_line_ends(chart, names, limits, scale) if single else ())]
    layers = alt.layer(*marks).properties(width=width, height=height)
    if single:
        return layers.properties(data=alt.Data(values=rows))
    facet = alt.Facet(
        field="panel", type="nominal", title=None, sort=list(chart.panels), header=alt.Header(labelAnchor="start")
    )
    title = {"text": f"{chart.y_label} by {chart.x_label}", "orient": "bottom", "anchor": "middle"}
    return layers.facet(facet=facet, columns=COLUMNS, data=alt.Data(values=rows), spacing=8).properties(title=title)


def _points(base: Any, chart: Curves, single: bool) -> Any:
    """The points that the pointer finds. If there are many, they are invisible."""
    many = chart.steps or max((len(s.x) for lines in chart.panels.values() for s in lines), default=0) > 12
    fields = ("panel", "layer", "nominal"), ("series", "set", "nominal"), ("x", chart.x_label, "quantitative")
    points = base.mark_point(filled=True, size=70 if many else 28, opacity=0 if many else 1)
    return points.encode(tooltip=_tooltip(*(fields[1:] if single else fields)))


def _limits(chart: Curves) -> tuple[float, float]:
    """The axis of a chart that sets none: it holds all values and the ends of their intervals."""
    values = [
        v for lines in chart.panels.values() for s in lines for interval in s.values for v in interval if v is not None
    ]
    values += [chart.rule[0]] if chart.rule else []
    if chart.log_y:
        values = [v for v in values if v > 0]
    low, high = min(values), max(values)
    return (low, high) if low < high else (low - 0.5, high + 0.5) if not chart.log_y else (low / 2, high * 2)


def _powers(limits: tuple[float, float]) -> list[float]:
    low, high = (math.log10(v) for v in limits)
    return [10.0**k for k in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]


def _rule(chart: Curves, scale: Any) -> list[Any]:
    """The line to compare with, in every panel."""
    if chart.rule is None:
        return []
    data = alt.Chart(alt.Data(values=[{"rule": chart.rule[0]}]))
    style: Any = {"strokeDash": [2, 2], "color": "currentColor", "strokeWidth": 0.8}
    return [data.mark_rule(**style).encode(y=alt.Y(field="rule", type="quantitative", scale=scale, title=None))]


def _line_ends(chart: Curves, names: list[str], limits: tuple[float, float], scale: Any) -> list[Any]:
    """The names of a single panel's lines at their ends, as in the SVG, each after its mark. The rule has no mark."""
    ends = [{"series": name, "end": float(f"{y:.5g}")} for name, y in line_ends(chart, limits)]
    at = {"x": alt.value("width"), "y": alt.Y(field="end", type="quantitative", scale=scale, title=None)}
    lines = [end for end in ends if end["series"] in names]
    marks = alt.Chart(alt.Data(values=lines)).mark_point(filled=True, size=28, opacity=1, xOffset=8)
    words = alt.Chart(alt.Data(values=ends)).mark_text(align="left", dx=15, fontSize=10, color="currentColor")
    return [
        marks.encode(**at, color=_colour(names, False), shape=_shape(names, False)),
        words.encode(**at, text=alt.Text(field="series", type="nominal")),
    ]


def _dots(chart: Dots) -> Any:
    names = list(chart.values)
    rows = [
        {"row": row, "series": name, **_cells(v)}
        for name, values in chart.values.items()
        for row, v in zip(chart.rows, values, strict=True)
        if v is not None
    ]
    scale = alt.Scale(domain=list(chart.x_range), clamp=True) if chart.x_range else alt.Scale(zero=True)
    base = alt.Chart().encode(
        y=alt.Y(field="row", type="nominal", sort=list(chart.rows), title=None),
        yOffset=alt.YOffset(field="series", type="nominal", sort=names),
        color=_colour(names),
    )
    x = alt.X(field="y", type="quantitative", title=chart.x_label, scale=scale, axis=alt.Axis(tickCount=4, **APART))
    rule = base.mark_rule(strokeWidth=1.5).encode(x=alt.X(field="lo", type="quantitative", scale=scale), x2="hi")
    points = base.mark_point(filled=True, size=36, opacity=1).encode(
        x=x, shape=_shape(names), tooltip=_tooltip(("row", "row", "nominal"), ("series", "set", "nominal"))
    )
    return alt.layer(rule, points).properties(data=alt.Data(values=rows), width=SINGLE[0], height=ROW * len(chart.rows))


def _heat(chart: Heat) -> Any:
    rows = [
        {"row": row, "x": column, **_cells(v)}
        for row, values in zip(chart.rows, chart.values, strict=True)
        for column, v in zip(chart.columns, values, strict=True)
        if v is not None
    ]
    colour = alt.Color(
        field="y",
        type="quantitative",
        title=chart.label,
        scale=alt.Scale(scheme="purpleorange", domain=[-1, 1], reverse=True),
        legend=alt.Legend(orient="bottom", gradientLength=SINGLE[0]),
    )
    return (
        alt.Chart(alt.Data(values=rows), width=SINGLE[0], height=ROW * len(chart.rows))
        .mark_rect()
        .encode(
            x=alt.X(field="x", type="ordinal", title=chart.x_label, axis=alt.Axis(labelOverlap=True, labelAngle=0)),
            y=alt.Y(field="row", type="nominal", sort=list(chart.rows), title=None),
            color=colour,
            tooltip=_tooltip(("row", "layer", "nominal"), ("x", chart.x_label, "quantitative")),
        )
    )
