"""The figures of docs/flips.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair
import numpy as np
import pandas as pd

from memloc.report.still import SANS, drawn, stack
from memloc.report.vega import Drawing
from memloc.statistics import Interval

alt: Any = altair

NAMES = {False: "clean", True: "noisy"}
COLOURS = alt.Scale(domain=["clean", "noisy"], range=["#0072B2", "#D55E00"])  # apart for colour-blind eyes, and in grey
LAYERS = ["conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear"]


def draw(
    folder: Path, definition: pd.DataFrame, fast: Mapping[int, pd.DataFrame], ratios: Mapping[int, Mapping[bool, Interval]]
) -> None:
    """distribution.svg, references.svg, layers.svg; the same bytes for the same numbers."""
    figures = {
        "distribution": distribution(definition, fast[16]),
        "references": references(ratios),
        "layers": by_layer(definition, fast[16]),
    }
    for name, (chart, rows) in figures.items():
        data = Drawing(
            chart.properties(height=240, data=alt.NamedData("rows")).to_dict(), list(rows.columns), rows.to_numpy().tolist()
        )
        text = stack([drawn(data, 560, name, SANS)]).svg()
        (folder / f"flips-{name}.svg").write_text(text, encoding="utf-8")


def _base(**channels: Any) -> Any:
    return alt.Chart().encode(color=alt.Color("set:N", title=None, scale=COLOURS), **channels)


def distribution(definition: pd.DataFrame, fast: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """Share of searches that need at most so many neurons."""
    parts = []
    for noisy in (False, True):
        for search, flips in (("definition", definition), ("fast", fast)):
            counts = np.sort(flips[flips.noisy == noisy]["count"].to_numpy())
            share = np.arange(1, len(counts) + 1) / len(counts)
            parts.append(pd.DataFrame({"set": NAMES[noisy], "search": search, "neurons": counts, "share": share}))
    chart = _base(
        x=alt.X("neurons:Q", title="neurons closed until the prediction flips"),
        y=alt.Y("share:Q", title="share of searches"),
        strokeDash=alt.StrokeDash("search:N", title=None),
    )
    return chart.mark_line(interpolate="step-after"), pd.concat(parts)


def references(ratios: Mapping[int, Mapping[bool, Interval]]) -> tuple[Any, pd.DataFrame]:
    """Ratio of mean counts to the definition's with 90 % intervals, by the number of reference images; 1 ± 5 % in grey."""
    rows = [[NAMES[noisy], str(n), *ratios[n][noisy], 0.95, 1.05] for n in sorted(ratios) for noisy in (False, True)]
    frame = pd.DataFrame(rows, columns=["set", "images", "ratio", "lo", "hi", "below", "above"])
    order = [str(n) for n in sorted(ratios)]
    x = alt.X("images:O", sort=order, title="reference images per step", axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(domain=[0.93, 1.09])
    base = _base(x=x, xOffset=alt.XOffset("set:N"))
    near = alt.Chart().mark_rect(color="#eeeeee").encode(y=alt.Y("below:Q", scale=scale), y2="above:Q")
    whiskers = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("lo:Q", title="mean count / definition's", scale=scale), y2="hi:Q"
    )
    return near + whiskers + base.mark_point(filled=True, size=60).encode(y=alt.Y("ratio:Q", scale=scale)), frame


def by_layer(definition: pd.DataFrame, fast: pd.DataFrame) -> tuple[Any, pd.DataFrame]:
    """Where the closed neurons are."""
    rows = []
    for noisy in (False, True):
        for search, flips in (("definition", definition), ("fast", fast)):
            share = flips[flips.noisy == noisy].layers.explode().value_counts(normalize=True)
            rows += [[NAMES[noisy], search, layer, float(share.get(layer, 0.0))] for layer in LAYERS]
    chart = _base(
        x=alt.X("layer:N", sort=LAYERS, title="layer"),
        y=alt.Y("share:Q", title="share of the closed neurons"),
        xOffset=alt.XOffset("which:N"),
        opacity=alt.Opacity("search:N", title=None, scale=alt.Scale(domain=["definition", "fast"], range=[1, 0.45])),
    )
    chart = chart.transform_calculate(which="datum.set + datum.search").mark_bar()
    return chart, pd.DataFrame(rows, columns=["set", "search", "layer", "share"])
