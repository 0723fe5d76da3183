"""The table of closed units, with the random sets beside them."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    80,
    "Units closed, beside random ones (Wang et al. 2024)",
    "units",
    "unit_closings",
    "epoch, score, draw IS NOT NULL AS random, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test, "
    "count(*) AS n",
    order="epoch, score, random",
    extent=("epochs",),
)
