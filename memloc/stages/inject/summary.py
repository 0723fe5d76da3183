"""The table of injected networks."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    82,
    "Examples that were put into known neurons",
    "inject",
    "injections",
    "avg(predicted::INT) AS predicted, avg(accepted::INT) AS accepted, avg(steps) AS steps, "
    "avg(test_acc_before) AS test_before, avg(test_acc) AS test",
    extent=("networks",),
    memorizing=False,
)
