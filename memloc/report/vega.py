"""What charts in Vega-Lite share: a specification whose width is open, and the rows that it draws.

Up to four trainings are drawn as themselves. Bands and whiskers are drawn from five on: with fewer, an interval is so wide
that it hides the values. A triangle at the edge says that a value, or an interval that is drawn, goes beyond the axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair

from memloc.papers.charts import BANDS
from memloc.report.palette import looks

Rows: TypeAlias = Sequence[Sequence[Any]]

alt: Any = altair  # its stubs do not know all of its arguments

ROWS = alt.NamedData("rows")
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
    "title": {"color": "currentColor", "fontSize": 12, "fontWeight": "normal"},
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


def finished(
    marks: Sequence[Any], height: int, panels: Sequence[str], fields: Sequence[str], rows: Rows, below: str = ""
) -> Drawing:
    """The layers as a chart, with a facet for each panel if there are several. Each facet has its own numbers below it.

    below: the name of the facets' x axes, once for all: below each it could be wider than the facet.
    """
    if len(panels) > 1:
        facet = alt.Facet("panel:N", title=None, sort=list(panels))
        layers = alt.layer(*marks).properties(height=height)
        built = layers.facet(facet=facet, columns=1, spacing=16, data=ROWS).resolve_axis(x="independent")
        built = built.properties(title=alt.Title(below, orient="bottom", anchor="middle")) if below else built
    else:
        built = alt.layer(*marks, data=ROWS).properties(height=height)
    specification = built.to_dict(validate=False, context={"pre_transform": False})
    for unused in ("config", "$schema", "data", "datasets"):
        specification.pop(unused, None)
    return Drawing(specification, fields, rows, max(1, len(panels)))


def each_of(each: Sequence[float | None]) -> Iterator[tuple[int, float]]:
    """(its place, its value) of two to four trainings, which are drawn as themselves. None: it has no value."""
    if 1 < sum(value is not None for value in each) < BANDS:
        yield from ((k, v) for k, v in enumerate(each, 1) if v is not None)


def told(*own: tuple[str, str]) -> list[Any]:
    """What the pointer tells. own: (field, its name)."""
    fields = [*own, ("value:Q", "value"), ("interval:N", "95 % interval"), ("whose:N", "training")]
    return [alt.Tooltip(f, title=t, format=".4~g") if f == "value:Q" else alt.Tooltip(f, title=t) for f, t in fields]


def by_set(names: Sequence[str], legend: bool) -> Callable[[Any, str], Any]:
    """Makes a channel that tells the sets apart: (kind of channel, field of a Look) → channel."""
    known = looks(names).values()

    def channel(kind: Any, field: str) -> Any:
        values = [list(v) if isinstance(v := getattr(look, field), tuple) else v for look in known]
        scale = alt.Scale(domain=list(names), range=values)
        return kind("set:N", title=None, scale=scale, legend=alt.Undefined if legend else None)

    return channel


def base(**channels: Any) -> Any:
    return alt.Chart().transform_calculate(interval=INTERVAL, whose=WHOSE).encode(**channels)


def triangles(base: Any, limits: tuple[float, float], axis: str, rows: Rows) -> list[Any]:
    """A triangle at the edge of the axis for what goes beyond it; nothing where all is within."""
    marks = []
    for end, upright, across, condition in EDGES:
        if any(v > limits[1] if end else v < limits[0] for v in extent(rows)):
            shape = f"triangle-{upright if axis == 'y' else across}"
            there = base.transform_filter(condition.format(repr(limits[end]), WIDE))
            mark = there.mark_point(filled=True, size=45, opacity=1, shape=shape)
            marks.append(mark.encode(y=alt.YDatum(limits[end])) if axis == "y" else mark.encode(x=alt.XDatum(limits[end])))
    return marks


def extent(rows: Rows) -> list[float]:
    """The values that are drawn, with the ends of the intervals that are drawn."""
    return [v for *_, value, lo, hi, k in rows for v in (value, *((lo, hi) if k >= BANDS else ())) if v is not None]


def seen(seen: bool, how: float) -> dict[str, float]:
    """The opacity of points. `opacity` itself would make a PDF ten times larger."""
    return {"opacity": 1, "fillOpacity": how} if seen else {"opacity": 0}
