"""What a summary says of rewound layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row, layer_extremes


def sentence(rows: list[Row]) -> str:
    """The layers whose rewinding leaves least and most of the noisy accuracy, means over epochs before the last."""
    extremes = layer_extremes(rows)
    if extremes is None:
        return ""
    (low, least), (high, most) = extremes
    return f"Rewinding {low} costs most (noisy accuracy left {least:.3f}), {high} least ({most:.3f})."


INSTRUMENT = Instrument(
    30,
    "One layer rewound to an earlier epoch (§5.1)",
    "rewind",
    "rewind",
    "layer, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
    sentence,
    where="epoch < epochs",
    order="noisy, layer",
    needs_trials=True,
    named=("memorized",),
)
