"""What a summary says of rewound layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row, layer_extremes


def sentence(rows: list[Row]) -> str:
    """The layers that keep least and most of the noisy examples."""
    return layer_extremes(rows, "noisy accuracy left")


INSTRUMENT = Instrument(
    30,
    "Rewinding one layer to an earlier epoch (§5.1)",
    "rewind",
    "rewind",
    "layer, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
    sentence,
    where="epoch < epochs",
    order="noisy, layer",
    needs_trials=True,
    named=("memorized",),
)
