"""The table of edited networks."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    45,
    "Weights without what has little curvature (Merullo 2025)",
    "edit",
    "edits",
    "edits.groups, rank, rho, budget, bn, images, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, "
    "avg(noisy_true_acc) AS true, avg(test_acc) AS test",
    where="rank = 'none' OR rho BETWEEN 0.88 AND 0.92",
    named=("memorized",),
    extent=("epochs", "groups", "ranks", "rho", "budget", "bn", "images", "unedited"),
)
