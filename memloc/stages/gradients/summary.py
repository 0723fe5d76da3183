"""What a summary says of gradients."""

from __future__ import annotations

import numpy as np

from memloc.stages.instrument import Instrument, Row


def sentence(rows: list[Row]) -> str:
    """The extremes of norms and cosines over layers, each a mean over epochs and trainings."""
    words = []
    for name, what in (("ratio", "noisy norm / clean norm"), ("cosine", "cosine"), ("control", "of random sets")):
        known = sorted((r[name], r["layer"]) for r in rows if r[name] is not None and np.isfinite(r[name]))
        if known:
            (low, first), (high, last) = known[0], known[-1]
            sign = "" if name == "ratio" else "+"
            words.append(f"{what} {low:{sign}.2f} ({first}) to {high:{sign}.2f} ({last})")
    return "; ".join(words)


INSTRUMENT = Instrument(
    20,
    "Gradients of clean and noisy examples, by layer (§4)",
    "gradients",
    "gradient_layers",
    "layer, avg(norm_noisy)/nullif(avg(norm_clean), 0) AS ratio, avg(cosine) AS cosine, avg(cosine_control) AS control",
    sentence,
    order="ratio, layer",
    named=("memorized",),
)
