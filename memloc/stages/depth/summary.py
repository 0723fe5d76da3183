"""The table of what each depth knows."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    70,
    "What each depth knows (Baldock et al. 2021)",
    "depth",
    "probes",
    "epoch, depth, site, probe, avg(dim) AS dim, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, "
    "avg(noisy_true_acc) AS noisy_true, avg(test_acc) AS test",
    order="epoch, probe, depth",
    extent=("epochs",),
)
