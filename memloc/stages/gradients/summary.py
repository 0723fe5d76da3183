"""What a summary says of gradients."""

from __future__ import annotations

import numpy as np

from memloc.stages.instrument import Instrument, Row


def sentence(rows: list[Row]) -> str:
    """The extremes of norms and cosines over layers, each a mean over epochs and trainings."""
    sentences = []
    if ratio := _extremes(rows, "ratio", ""):
        sentences.append(f"The noisy norm is {ratio} times the clean one.")
    if cosine := _extremes(rows, "cosine", "+"):
        sentences.append(f"The cosine is {cosine}.")
    if control := _extremes(rows, "control", "+"):
        sentences.append(f"For random sets of the same size the cosine is {control}.")
    return " ".join(sentences)


def _extremes(rows: list[Row], name: str, sign: str) -> str:
    """`0.45 (conv4) to 0.96 (conv1)`, "" where no layer has a finite value."""
    known = sorted((r[name], r["layer"]) for r in rows if r[name] is not None and np.isfinite(r[name]))
    if not known:
        return ""
    (low, first), (high, last) = known[0], known[-1]
    return f"{low:{sign}.2f} ({first}) to {high:{sign}.2f} ({last})"


INSTRUMENT = Instrument(
    20,
    "Gradients of clean and noisy examples, by layer (§4)",
    "gradients",
    "gradient_layers",
    "layer, avg(norm_noisy)/nullif(avg(norm_clean), 0) AS ratio, avg(cosine) AS cosine, avg(cosine_control) AS control",
    sentence,
    order="ratio, layer",
    named=("memorized",),
    extent=("epochs",),
)
