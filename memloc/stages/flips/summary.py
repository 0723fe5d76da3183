"""The table of the neurons that carry a prediction."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    50,
    "Neurons that carry a prediction (§6.1)",
    "flips",
    "flip_counts",
    "noisy, avg(neurons) AS neurons, avg((neurons < 10)::INT) AS below_10, avg(clean_acc) AS clean, avg(test_acc) AS test",
    named=("memorized",),
)
