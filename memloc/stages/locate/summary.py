"""The table of the methods, by truth."""

from __future__ import annotations

from memloc.stages.instrument import Instrument

CLOSED = "coalesce(k_star, CASE WHEN NOT skipped THEN least(64, n_candidates) END)"  # a censored deletion ends there

INSTRUMENT = Instrument(
    84,
    "Which method finds where an example is",
    "locate",
    "localization",
    "localization.truth AS truth, method, noisy, avg(spec_auc) AS spec_auc, avg(auc) AS auc, avg(recall) AS recall, "
    f"avg({CLOSED}) AS k_star, avg(clean_drop) AS clean_drop, avg(skipped::INT) AS skipped, avg(seconds) AS seconds",
    where=f"k IS NULL OR localization.truth <> 'deleted' OR k = {CLOSED}",
    order="truth, noisy, method",
    extent=("methods", "clean", "noisy", "evaluated", "networks"),
    memorizing=False,
)
