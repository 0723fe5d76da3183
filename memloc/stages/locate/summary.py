"""The table of the methods, by truth."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    84,
    "Which method finds where an example is",
    "locate",
    "localization",
    "localization.truth AS truth, method, noisy, avg(spec_auc) AS spec_auc, avg(auc) AS auc, avg(recall) AS recall, "
    "avg(k_star) AS k_star, avg(clean_drop) AS clean_drop, avg(skipped::INT) AS skipped, avg(seconds) AS seconds",
    order="truth, noisy, method",
    extent=("methods", "clean", "noisy", "before", "evaluated", "networks"),
    memorizing=False,
)
