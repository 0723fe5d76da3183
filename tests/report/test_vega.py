"""Charts in Vega-Lite: their numbers, what is drawn of few and of many trainings, arrows, looks."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair
import pytest
import vl_convert

from memloc.papers.charts import Chart, Curves, Dots, Heat, Line
from memloc.report import palette, still, vega
from memloc.report.drawing import drawing, line_ends
from memloc.report.tables import as_table, gist, interval, number, papers
from memloc.statistics import Interval
from tests.report.hand import CHARTS, DOTS, FACETS, GALLERY, HEAT, LOG, MATRIX, STEPS, curves, line, over

ALL = pytest.mark.parametrize("chart", CHARTS, ids=["few", "many", "facets", "log", "steps", "dots", "heat", "matrix"])


def marks(chart: Chart, width: float = 400) -> Counter[str]:
    """How many marks of each kind Vega draws, by the role of the groups in its scene."""
    counted: Counter[str] = Counter()
    for mark in scene(chart, width):
        counted[mark["marktype"]] += len(mark["items"])
    return counted


def scene(chart: Chart, width: float = 400) -> Iterator[dict[str, Any]]:
    """The marks of a chart's layers; not those of axes and legends."""
    made = drawing(chart)
    whole = vl_convert.vegalite_to_scenegraph({**made.whole(width), "config": vega.CONFIG}, vl_version=still.VERSION)
    todo = [whole["scenegraph"]]
    while todo:
        node = todo.pop()
        if "marktype" in node and node["marktype"] != "group" and node.get("role") == "mark":
            yield node
        todo += [child for child in node.get("items", ()) if "items" in child or "marktype" in child]


@ALL
def test_it_is_valid_vega_lite_without_addresses(chart: Chart) -> None:
    whole = drawing(chart).whole(200, 3)
    altair.Chart.from_dict(whole, validate=True)
    assert "url" not in json.dumps(whole)


def estimates(chart: Chart) -> list[Interval]:
    """The estimates of a chart, by its own structure."""
    if isinstance(chart, Curves):
        return [v for lines in chart.panels.values() for one in lines for v in one.values if v]
    rows = chart.values.values() if isinstance(chart, Dots) else [r for p in chart.panels.values() for r in p]  # type: ignore[union-attr]
    return [v.printed for row in rows for v in row if v]


@ALL
def test_its_numbers_are_the_charts_to_the_last_bit(chart: Chart) -> None:
    made = drawing(chart)
    rows = [dict(zip(made.fields, row, strict=True)) for row in made.rows]
    means = [(r["value"], r["lo"], r["hi"]) for r in rows if r["training"] is None]
    assert sorted(map(str, means)) == sorted(str(tuple(v)) for v in estimates(chart))
    table = as_table("", made)
    assert table is not None
    cells = [cell for row in table.rows for cell in row[1:] if cell != "–"]
    assert sorted(cells) == sorted(interval(v) for v in estimates(chart))


@ALL
def test_the_same_again_in_one_process(chart: Chart) -> None:
    """altair counts the charts that it makes."""
    assert drawing(chart) == drawing(chart)


@pytest.mark.parametrize(("k", "lines", "bands"), [(1, 2, 0), (2, 6, 0), (4, 10, 0), (5, 2, 2), (7, 2, 2)])
def test_few_trainings_are_drawn_as_themselves_and_many_with_bands(k: int, lines: int, bands: int) -> None:
    drawn: Counter[str] = Counter()
    for mark in scene(curves(k, y_range=(-1.0, 3.0))):
        drawn[mark["marktype"]] += 1
    assert (drawn["line"], drawn["area"]) == (lines, bands)


@pytest.mark.parametrize(("k", "points", "ticks", "whiskers"), [(1, 2, 0, 0), (2, 4, 2, 0), (4, 8, 2, 0), (5, 2, 0, 2)])
def test_dots_of_few_trainings_have_no_whiskers(k: int, points: int, ticks: int, whiskers: int) -> None:
    drawn = marks(Dots("", ["a", "b"], {"clean": [over(k, 1.0), over(k, 2.0)]}, "norm"))
    assert (drawn["symbol"], drawn["rect"], drawn["rule"]) == (points, ticks, whiskers)


def triangles(chart: Chart) -> list[tuple[str, float, float]]:
    """(shape, x, y) of the triangles of a chart without sets that have such a mark."""
    items = [i for mark in scene(chart) for i in mark["items"] if "triangle" in str(i.get("shape"))]
    return sorted((i["shape"], i["x"], i["y"]) for i in items)


def test_an_arrow_is_at_the_edge_for_what_lies_beyond() -> None:
    """Of six trainings, the interval of the last point leaves the axis above, that of the first below."""
    wide, narrow = curves(6, 6.0, y_range=(0.1, 0.9)), curves(6, 0.01, y_range=(0.0, 1.0))
    found = triangles(wide)
    assert {(shape, y) for shape, _, y in found} == {("triangle-up", 0.0), ("triangle-down", float(vega.HEIGHT))}
    outside = [v for one in wide.panels[""] for v in one.values if v and (v.hi or 0) > 0.9]
    assert sum(shape == "triangle-up" for shape, *_ in found) == len(outside) > 0
    assert triangles(narrow) == []


def test_no_arrow_for_an_interval_that_is_not_drawn() -> None:
    """Of two trainings the interval is wide, but only a value outside has an arrow."""
    assert triangles(curves(2, y_range=(0.0, 1.0))) == []
    beyond = triangles(curves(2, y_range=(0.0, 0.905)))  # of clean a training and the mean; of noisy both and the mean
    assert [shape for shape, *_ in beyond] == ["triangle-up"] * 5


def test_dots_have_arrows_at_their_sides() -> None:
    chart = Dots("", ["a", "b"], {"clean": [over(6, 0.5), over(6, 0.95)]}, "AUC", x_range=(0.5, 0.97))
    assert {(shape, x) for shape, x, _ in triangles(chart)} == {("triangle-left", 0.0), ("triangle-right", 400.0)}


def test_every_axis_has_a_name() -> None:
    for chart in (curves(3), FACETS, DOTS, HEAT):
        text = json.dumps(drawing(chart).spec)
        names = [chart.x_label, *(getattr(chart, name) for name in ("y_label", "label") if hasattr(chart, name))]
        assert all(json.dumps(name) in text for name in names)


@pytest.mark.parametrize("last", [1, 2, 3, 4, 5, 6, 30])
def test_an_axis_of_whole_numbers_has_each_number_once(last: int) -> None:
    """Ticks at 1, 1.5, 2, … would be labelled 1, 2, 2, …"""
    values = [0.1 + 0.01 * k for k in range(last)]
    one = replace(line("clean", values, 1), x=[1 + k for k in range(last)])
    text = still.drawn(drawing(Curves("", {"": [one]}, "neurons", "share", y_range=(0.0, 0.9))), 400).body
    labels = [int(label) for label in re.findall(r">(\d+)</text>", text)]
    assert labels
    assert labels == sorted(set(labels))


def test_an_axis_of_a_few_other_numbers_has_these_alone() -> None:
    one = replace(line("clean", [0.1, 0.2, 0.3], 1), x=[0.25, 0.5, 1.0])
    chart = Curves("", {"": [one]}, "width", "share", y_range=(0.0, 0.9))
    ticks = drawing(chart).spec["layer"][0]["encoding"]["x"]["axis"]["values"]
    assert ticks == [0.25, 0.5, 1.0]
    assert "values" not in drawing(replace(chart, steps=True)).spec["layer"][0]["encoding"]["x"]["axis"]


def test_a_logarithmic_axis_has_plain_decades_and_holds_the_rule() -> None:
    svg = still.drawn(drawing(LOG), 300).body
    assert all(f">{decade}</text>" in svg for decade in ("0.1", "1", "10"))
    assert svg.count(">equal</text>") == 1
    fitted = drawing(Curves("", {"": [line("clean", (2e-5, 0.3), 1)]}, "x", "y", log_y=True))
    assert ">0.0001</text>" in still.drawn(fitted, 300).body


def test_names_at_the_ends_of_lines_do_not_touch() -> None:
    flat = Curves("", {"": [line(n, (0.9, 0.9), 1) for n in ("a", "b", "c", "d")]}, "x", "y", (0.0, 0.9), rule=(0.9, "all"))
    places = line_ends(flat, (0.0, 0.9))
    heights = sorted(y * vega.HEIGHT / 0.9 for _, y in places)
    assert len(heights) == 5
    assert all(b - a >= 14.9 for a, b in itertools.pairwise(heights))
    assert heights[-1] <= vega.HEIGHT + 1e-6


def test_the_name_of_a_line_below_the_rule_stays_at_its_own_end() -> None:
    """The rule has no mark. Its height was given to the name before it."""
    below = Curves("", {"": [line("AUC", (0.1, 0.1), 1)]}, "x", "y", (0.0, 1.0), rule=(0.9, "guessing"))
    drawn = {mark["mark"]["text"]: mark["encoding"]["y"]["datum"] for mark in drawing(below).spec["layer"]
             if mark["mark"].get("text")}  # fmt: skip
    assert drawn == dict(line_ends(below, (0.0, 1.0)))
    assert drawn["AUC"] == pytest.approx(0.1)


def test_gaps_are_left_out() -> None:
    """A training that lacks a value, and a point without an estimate."""
    one = Line("clean", [0, 1], [[0.5, None], [0.7, None]], [over(2, 0.6).printed, None])
    rows = drawing(Curves("", {"": [one]}, "x", "y")).rows
    assert [(row[2], row[3]) for row in rows] == [(0, None), (0, 1), (0, 2)]


def test_gists() -> None:
    assert gist(curves(1)) == "one. accuracy over epoch, from first to last. clean 0.200 to 0.900; noisy 0.100 to 0.910."
    assert gist(DOTS) == "dots. norm: clean 0.998 (a); noisy 0.500 (b) to 2.003 (a)."
    assert gist(HEAT) == "heat. cosine by layer and epoch: from −0.895 to 0.806."
    assert gist(MATRIX).startswith("matrix. rank correlation by method and method: from −0.895")
    assert gist(GALLERY) == "images. 9 images."
    assert gist(STEPS).startswith("steps. share over neurons")


def test_numbers_have_three_digits() -> None:
    assert [number(v) for v in (None, 0.0, 0.47749, -12.34, 0.01996, -2e-5)] == [
        "–", "0.000", "0.477", "−12.3", "0.0200", "−2.00e−05",
    ]  # fmt: skip


def test_the_papers_numbers_have_the_papers_digits() -> None:
    """No zeros behind them, which would claim digits that the paper does not give."""
    stated = [5.1, 15.7, 10.0, 0.9, -0.75, 0.028, 0.001, 0.999]
    assert [papers(v) for v in stated] == ["5.1", "15.7", "10", "0.9", "−0.75", "0.028", "0.001", "0.999"]
    assert (papers(None), papers(5.1 / 15.7)) == ("–", "0.325")


def test_facets_fill_the_width_and_are_not_too_narrow() -> None:
    for panels, width in itertools.product((2, 7, 9, 16), (320, 380, 700, 1230)):
        columns, inner = still.grid(panels, width)
        assert columns == 1 or inner >= still.LEAST
        assert columns * inner + (columns - 1) * still.GAP + still.MARGIN == pytest.approx(width)
        rows = -(-panels // columns)
        assert rows == 1 or columns * rows - panels < columns
        assert (
            columns + 1 > panels
            or (width - still.MARGIN + still.GAP) / (columns + 1) - still.GAP < still.LEAST
            or (-(-panels // (columns + 1)) == rows)
        )


# --- looks ------------------------------------------------------------------------------------------------------------


def luminance(colour: tuple[float, ...]) -> float:
    """WCAG 2.2's relative luminance."""
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def parts(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


STYLE = (Path(vega.__file__).parent / "page/style.css").read_text()


@pytest.mark.parametrize("ground", re.findall(r"--ground: (#\w{6})", STYLE)[:2])
@pytest.mark.parametrize("look", palette.ORDER, ids=lambda look: look.colour)
def test_marks_stand_out_on_either_ground(look: palette.Look, ground: str) -> None:
    assert contrast(parts(look.colour), parts(ground)) >= 3


def test_text_stands_out_on_every_cell() -> None:
    """The colour of the words follows the specification's own condition."""
    colours = [c for half in palette.DIVERGING for c in half]
    spec = json.dumps(drawing(HEAT).spec)
    (condition,) = set(re.findall(r"datum.value < (-[\d.]+) \|\| datum.value > ([\d.]+)", spec))
    white_below, white_above = map(float, condition)
    assert json.dumps(colours) in spec
    for k in range(201):
        value = k / 100 - 1
        at = (value + 1) / 2 * (len(colours) - 1)
        low, high = parts(colours[int(at)]), parts(colours[min(int(at) + 1, len(colours) - 1)])
        cell = tuple(a + (b - a) * (at % 1) for a, b in zip(low, high, strict=True))
        ink = (1.0,) * 3 if value < white_below or value > white_above else (0.0,) * 3
        assert contrast(cell, ink) >= 4.5, value


def test_sets_differ_in_colour_and_in_mark() -> None:
    """Also those that have no look of their own."""
    for names in (("clean", "noisy", "total", "control", "test"), ("a", "clean", "b", "noisy"), ("x", "y", "z")):
        looks = palette.looks(names)
        assert list(looks) == list(names)
        assert len({look.colour for look in looks.values()}) == len({look.mark for look in looks.values()}) == len(names)
    assert palette.LOOKS["typical"] == palette.LOOKS["clean"]
    assert palette.LOOKS["atypical"] == palette.LOOKS["noisy"]


def test_a_mean_says_of_how_many_trainings_it_is() -> None:
    """Of six trainings two were measured at the second x: there is no band there, and both are drawn."""
    each = [[0.1 * k, 0.2 * k if k < 2 else None] for k in range(6)]
    one = Line("clean", [0, 1], each, [Interval(0.25, 0.1, 0.4), Interval(0.1, None, None)])
    made = drawing(Curves("", {"": [one]}, "x", "y"))
    rows = [dict(zip(made.fields, row, strict=True)) for row in made.rows]
    assert [(r["x"], r["training"], r["trainings"]) for r in rows] == [(0, None, 6), (1, None, 2), (1, 1, 2), (1, 2, 2)]


def test_a_picture_of_narrow_cells_has_no_numbers_that_nobody_sees() -> None:
    """They had three fifths of its bytes."""
    columns = list(range(40))
    row = [over(1, 0.123)] * len(columns)
    heat = Heat("", ["conv1"], columns, {"": [row]}, "epoch", "cosine")
    narrow, wide = still.drawn(drawing(heat), 400).body, still.drawn(drawing(heat), 2000).body
    assert ("0.12<" in narrow, wide.count(">0.12</text>")) == (False, len(columns))
