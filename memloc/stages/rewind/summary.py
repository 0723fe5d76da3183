"""The table of rewound layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    30,
    "One layer rewound to an earlier epoch (§5.1)",
    "rewind",
    "rewind",
    "layer, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
    where="epoch < epochs",
    order="noisy, layer",
    needs_trials=True,
    named=("memorized",),
)
