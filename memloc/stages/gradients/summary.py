"""The table of gradients."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    20,
    "Gradients of clean and noisy examples, by layer (§4)",
    "gradients",
    "gradient_layers",
    "layer, avg(norm_noisy)/nullif(avg(norm_clean), 0) AS ratio, avg(cosine) AS cosine, avg(cosine_control) AS control",
    order="ratio, layer",
    named=("memorized",),
    extent=("epochs",),
)
