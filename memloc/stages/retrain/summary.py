"""The table of retrained layers."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    40,
    "One layer retrained on clean examples alone (§5.2)",
    "retrain",
    "retrain",
    "layer, trial, max(clean_acc) AS clean, max(noisy_acc) AS noisy",
    where="epoch > 0",
    order="noisy, layer",
    named=("memorized",),
)
