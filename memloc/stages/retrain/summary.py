"""What a summary says of retrained layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row, layer_extremes


def sentence(rows: list[Row]) -> str:
    """The layers that learn least and most of the noisy examples, which they do not see."""
    return layer_extremes(rows, "noisy accuracy reached")


INSTRUMENT = Instrument(
    40,
    "Retraining one layer on clean examples alone (§5.2)",
    "retrain",
    "retrain",
    "layer, trial, max(clean_acc) AS clean, max(noisy_acc) AS noisy",
    sentence,
    where="epoch > 0",
    order="noisy, layer",
    named=("memorized",),
)
