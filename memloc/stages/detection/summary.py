"""The table of finding mislabeled examples."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

INSTRUMENT = Instrument(
    60,
    "Finding the mislabeled examples (§6.1)",
    "detection",
    "detection",
    "sample, score, avg(auc) AS auc, min(auc_lo) AS lo, max(auc_hi) AS hi",
    order="sample DESC, auc DESC, score",
    named=("memorized",),
)
