"""What a summary says of retrained layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row, layer_extremes


def sentence(rows: list[Row]) -> str:
    """The layers that reach least and most noisy accuracy in any epoch, though they see clean examples alone."""
    extremes = layer_extremes(rows)
    if extremes is None:
        return ""
    (low, least), (high, most) = extremes
    return f"Retraining {high} brings back most (noisy accuracy {most:.3f}), {low} least ({least:.3f})."


INSTRUMENT = Instrument(
    40,
    "One layer retrained on clean examples alone (§5.2)",
    "retrain",
    "retrain",
    "layer, trial, max(clean_acc) AS clean, max(noisy_acc) AS noisy",
    sentence,
    where="epoch > 0",
    order="noisy, layer",
    named=("memorized",),
)
