"""The figures of docs/flips.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from memloc.statistics import Interval

COLOURS = {False: "#0072B2", True: "#D55E00"}  # clean, noisy: apart for colour-blind eyes, and in grey
NAMES = {False: "clean", True: "noisy"}


def draw(
    folder: Path, definition: pd.DataFrame, fast: Mapping[int, pd.DataFrame], ratios: Mapping[int, Mapping[bool, Interval]]
) -> None:
    """distribution.svg, references.svg, layers.svg; the same bytes for the same numbers."""
    mpl.rcParams.update({"svg.hashsalt": "memloc", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    mpl.use("Agg")
    figures = {
        "distribution": distribution(definition, fast[16]),
        "references": references(ratios),
        "layers": by_layer(definition, fast[16]),
    }
    for name, figure in figures.items():
        figure.savefig(folder / f"flips-{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        plt.close(figure)


def distribution(definition: pd.DataFrame, fast: pd.DataFrame) -> Any:
    """Share of searches that need at most so many neurons."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    for noisy in (False, True):
        for flips, style, name in ((definition, "-", "definition"), (fast, "--", "fast")):
            values = np.sort(flips[flips.noisy == noisy]["count"].to_numpy())
            share = np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, style, where="post", color=COLOURS[noisy], label=f"{NAMES[noisy]}, {name}")
    axes.set(xlabel="neurons closed until the prediction flips", ylabel="share of searches", ylim=(0, 1.02))
    axes.legend(frameon=False, loc="lower right")
    return figure


def references(ratios: Mapping[int, Mapping[bool, Interval]]) -> Any:
    """Ratio of mean counts to the definition's, by the number of reference images."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    axes.axhspan(0.95, 1.05, color="0.92", zorder=0)
    axes.axhline(1.0, color="0.6", lw=0.8, zorder=1)
    numbers = sorted(ratios)
    for noisy, shift in ((False, -0.08), (True, 0.08)):
        for at, number in enumerate(numbers):
            r = ratios[number][noisy]
            assert r.lo is not None
            assert r.hi is not None
            axes.plot([at + shift] * 2, [r.lo, r.hi], color=COLOURS[noisy], lw=2)
            axes.plot(at + shift, r.value, "o", color=COLOURS[noisy], label=NAMES[noisy] if at == 0 else None)
    axes.set_xticks(range(len(numbers)), [str(n) for n in numbers])
    axes.set(xlabel="reference images per step", ylabel="mean count / definition's", ylim=(0.93, 1.09))
    axes.legend(frameon=False, title="90 % intervals; grey: ±5 %", alignment="left", loc="upper right", ncols=2)
    return figure


def by_layer(definition: pd.DataFrame, fast: pd.DataFrame) -> Any:
    """Where the closed neurons are."""
    figure, axes = plt.subplots(figsize=(6, 3.4))
    layers = ["conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear"]
    bars = [(flips, noisy) for noisy in (False, True) for flips in (definition, fast)]
    for k, (flips, noisy) in enumerate(bars):
        share = flips[flips.noisy == noisy].layers.explode().value_counts(normalize=True)
        heights = [float(share.get(layer, 0.0)) for layer in layers]
        name = f"{NAMES[noisy]}, {'definition' if flips is definition else 'fast'}"
        solid = COLOURS[noisy] if flips is definition else "none"
        at = np.arange(len(layers)) + 0.2 * (k - 1.5)
        axes.bar(at, heights, 0.18, facecolor=solid, edgecolor=COLOURS[noisy], label=name)
    axes.set_xticks(range(len(layers)), layers, rotation=30, ha="right")
    axes.set_ylabel("share of the closed neurons")
    axes.legend(frameon=False)
    return figure
