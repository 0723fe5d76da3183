"""Charts by matplotlib: the pictures of the page, and of publications. The same numbers give the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.ticker
import matplotlib.transforms  # noqa: F401  (used as mpl.transforms)
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import imread

from memloc.report.charts import Chart, Curves, Dots, Gallery, Heat, Series
from memloc.report.palette import DIVERGING, LOOKS

INK, LINE = "#010203", "#d0d1d2"  # text and grid; the page replaces them by its own colours
WIDTH = 3.75  # inches: 360 pixels, the width of a phone
STEPS = (1, 2, 5, 10)  # between ticks
COLUMNS = 3  # small multiples side by side

STYLE = {
    "figure.dpi": 72.0,
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.labelsize": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.0,
    "svg.hashsalt": "memloc",
    "pdf.fonttype": 42,
}


def style(**more: Any) -> Any:
    """A context with matplotlib's settings for charts."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, "backend": "agg", **STYLE, **more}
    return mpl.rc_context(settings)


def figure(chart: Chart) -> Figure:
    """The chart as a figure of its own, as wide as a phone. Draw and save it within `style()`."""
    drawn = Figure(figsize=(WIDTH, height(chart)), layout="constrained")
    _paint(drawn, chart)
    _settle(drawn)
    return drawn


def paint(on: SubFigure, chart: Chart) -> None:
    """Draws a chart on a part of a larger figure, in the layout that it has as a figure of its own."""
    alone = figure(chart)
    _paint(on, chart)
    for mine, its in zip(on.axes, alone.axes, strict=True):
        mine.set_position(its.get_position())
    for word, known in zip(on.texts, alone.texts, strict=True):
        word.set_position(known.get_position())


def _settle(drawn: Figure) -> None:
    """Rounds the layout to 1/8 point. The solver's last bits depend on memory addresses, and would change the bytes."""
    drawn.draw_without_rendering()
    drawn.set_layout_engine("none")
    steps = 8 * 72 * drawn.get_size_inches()
    for axis in drawn.axes:
        corners = np.round(axis.get_position().get_points() * steps) / steps
        axis.set_position(mpl.transforms.Bbox(corners))
    for word in drawn.texts:
        word.set_position(np.round(np.array(word.get_position()) * steps) / steps)


def height(chart: Chart) -> float:
    """The height of a chart in inches."""
    if isinstance(chart, Curves):
        lines = math.ceil(len(chart.panels) / COLUMNS)
        return 2.6 if len(chart.panels) == 1 else 0.85 + 0.95 * lines
    if isinstance(chart, Dots):
        return 0.85 + 0.2 * max(3, len(chart.rows))
    if isinstance(chart, Heat):
        return 1.15 + 0.2 * max(3, len(chart.rows))
    return 0.2 + 0.62 * math.ceil(len(chart.pictures) / 8)


def _paint(on: Any, chart: Chart) -> None:
    painters: dict[type, Callable[[Any, Any], None]] = {Curves: _curves, Dots: _dots, Heat: _heat, Gallery: _gallery}
    painters[type(chart)](on, chart)


def svg(drawn: Figure) -> str:
    """SVG without date and preamble."""
    sink = io.StringIO()
    # Not `savefig`: it draws everything twice, first for the layout, which the figure has already.
    FigureCanvasSVG(drawn).print_svg(sink, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    text = sink.getvalue()
    return text[text.index("<svg") :]


# --- curves -----------------------------------------------------------------------------------------------------------


def _curves(on: Any, chart: Curves) -> None:
    single = len(chart.panels) == 1
    columns = 1 if single else COLUMNS
    axes = on.subplots(math.ceil(len(chart.panels) / columns), columns, sharex=True, sharey=True, squeeze=False)
    for axis, (title, lines) in zip(axes.flat, chart.panels.items(), strict=False):
        for series in lines:
            _line(axis, series, chart.steps, chart.y_range[0] if chart.log_y and chart.y_range else -math.inf)
        if chart.rule:
            axis.axhline(chart.rule[0], color=INK, lw=0.8, dashes=(2, 2))
        axis.set_title("" if single else title, fontsize=8.0 if single else 7.5)
    first = axes[0, 0]
    if chart.log_y:
        _decades(first)
    if chart.y_range and chart.log_y:
        first.set_ylim(*chart.y_range)
    elif chart.y_range:
        low, high = chart.y_range
        first.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    for axis in axes.flat[len(chart.panels) :]:
        axis.set_visible(False)
    if not single:  # the panel above a missing one shows its numbers
        for axis in axes.flat[max(0, len(chart.panels) - columns) : len(chart.panels)]:
            axis.tick_params(labelbottom=True)
    first.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5 if single else 3, integer=_whole(chart), steps=STEPS))
    on.supxlabel(chart.x_label, fontsize=8.0)
    on.supylabel(chart.y_label, fontsize=8.0)
    if single:
        _name_lines(first, chart)
    else:
        _legend(on, first)


def _whole(chart: Curves) -> bool:
    return all(float(x).is_integer() for lines in chart.panels.values() for s in lines for x in s.x)


def _line(axis: Any, series: Series, steps: bool, lowest: float) -> None:
    """Draws one line and its band. lowest: the band is cut there, because it cannot reach 0 on a logarithmic axis."""
    look = LOOKS[series.name]
    y = [v.value for v in series.values]
    how = {"drawstyle": "steps-post"} if steps else {}
    markers = {"marker": look.mark} if len(y) <= 12 and not steps else {}
    line = axis.plot(series.x, y, color=look.colour, label=series.name, **how, **markers)[0]
    if look.dash:
        line.set_dashes(look.dash)
    known = [(x, v.lo, v.hi) for x, v in zip(series.x, series.values, strict=True) if v.lo is not None]
    if known:
        x, lo, hi = zip(*known, strict=True)
        axis.fill_between(x, np.maximum(lo, lowest), hi, color=look.colour, alpha=0.18, lw=0, step="post" if steps else None)


def _name_lines(axis: Any, chart: Curves) -> None:
    transform = axis.get_yaxis_transform()
    for name, y in line_ends(chart, axis.get_ylim()):
        if look := LOOKS.get(name):  # a rule has none
            axis.plot([1.03], [y], look.mark, color=look.colour, transform=transform, clip_on=False, ms=4.5)
        axis.text(1.06 if look else 1.02, y, name, transform=transform, va="center", clip_on=False)


def line_ends(chart: Curves, limits: tuple[float, float]) -> list[tuple[str, float]]:
    """[(name, y)]: the places of the names of a single panel's lines and of its rule.

    They are at the ends of the lines, moved apart if they would touch, and within the axis's limits.
    """
    (lines,) = chart.panels.values()
    scale: Callable[[float], float] = math.log10 if chart.log_y else float
    low, high = map(scale, limits)
    known = [(s.values[-1].value, s.name) for s in lines if s.values] + ([chart.rule] if chart.rule else [])
    places = sorted((min(max(scale(y), low), high), name) for y, name in known)
    gap = 0.075 * (high - low)
    heights: list[float] = []
    for at, _ in places:
        heights.append(max(at, heights[-1] + gap) if heights else at)
    excess = heights[-1] - high if heights else 0.0
    for k in range(len(heights) - 1, -1, -1) if excess > 0 else ():
        ceiling = high if k == len(heights) - 1 else heights[k + 1] - gap
        heights[k] = min(heights[k], ceiling)
    return [(name, 10**at if chart.log_y else at) for (_, name), at in zip(places, heights, strict=True)]


def _decades(axis: Any) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(numticks=12))
    axis.yaxis.set_major_formatter(
        mpl.ticker.FuncFormatter(lambda v, _: np.format_float_positional(v, 2, fractional=False, trim="-"))
    )
    axis.yaxis.set_minor_locator(mpl.ticker.NullLocator())


def _legend(on: Any, axis: Any) -> None:
    handles, names = axis.get_legend_handles_labels()
    if len(set(names)) > 1:
        on.legend(handles, names, loc="outside upper left", ncols=len(names), handlelength=2.2, columnspacing=1.2)


# --- dots -------------------------------------------------------------------------------------------------------------


def _dots(on: Any, chart: Dots) -> None:
    axis = on.subplots()
    count = len(chart.values)
    for k, (name, values) in enumerate(chart.values.items()):
        look = LOOKS[name]
        shift = 0.0 if count == 1 else 0.44 * (k / (count - 1) - 0.5)
        at = [(row + shift, v) for row, v in enumerate(values) if v is not None]
        for y, v in at:
            if v.lo is not None:
                axis.plot([v.lo, v.hi], [y, y], color=look.colour, lw=1.2, solid_capstyle="butt")
        axis.plot([v.value for _, v in at], [y for y, _ in at], look.mark, color=look.colour, label=name)
    axis.set_yticks(range(len(chart.rows)), chart.rows)
    axis.set_ylim(len(chart.rows) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.set_xlabel(chart.x_label)
    if chart.x_range:
        axis.set_xlim(*chart.x_range)
    axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, steps=STEPS))
    _legend(on, axis)


# --- heat maps and images ---------------------------------------------------------------------------------------------


def _heat(on: Any, chart: Heat) -> None:
    axis = on.subplots()
    values = np.array([[math.nan if v is None else v.value for v in row] for row in chart.values])
    edges = np.arange(len(chart.columns) + 1) - 0.5
    mesh = axis.pcolormesh(
        edges, np.arange(len(chart.rows) + 1) - 0.5, values, cmap=DIVERGING, vmin=-1, vmax=1, rasterized=False
    )
    axis.set_yticks(range(len(chart.rows)), chart.rows)
    axis.set_ylim(len(chart.rows) - 0.5, -0.5)
    every = max(1, math.ceil(len(chart.columns) / 9))
    ticks = range(0, len(chart.columns), every)
    axis.set_xticks(list(ticks), [str(chart.columns[k]) for k in ticks])
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(chart.x_label)
    if values.shape[1] <= 8:
        _write_cells(axis, values)
    bar = on.colorbar(mesh, ax=axis, location="bottom", aspect=40, pad=0.02, shrink=0.9, ticks=[-1, -0.5, 0, 0.5, 1])
    bar.set_label(chart.label)
    bar.outline.set_visible(False)
    bar.solids.set_edgecolor("face")


def _write_cells(axis: Any, values: Any) -> None:
    for row, column in np.argwhere(~np.isnan(values)):
        value = values[row, column]
        words = f"{value:.2f}".replace("-", "−")
        axis.text(column, row, words, ha="center", va="center", color=on_cell(value), fontsize=6.5)


def on_cell(value: float) -> str:
    """The colour of text on a heat map's cell, with a contrast of at least 4.5:1 by WCAG 2.2."""
    return "#ffffff" if value < -0.77 or value > 0.61 else "#000000"


def _gallery(on: Any, chart: Gallery) -> None:
    axes = on.subplots(math.ceil(len(chart.pictures) / 8), 8, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, picture in zip(axes.flat, chart.pictures, strict=False):
        axis.imshow(imread(io.BytesIO(picture.png), format="png"), cmap="gray", interpolation="nearest")
        axis.set_title(picture.words, fontsize=5.0)
