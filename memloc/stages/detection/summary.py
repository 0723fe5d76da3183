"""What a summary says of finding mislabeled examples."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row
from memloc.statistics import Interval, in_brackets


def sentence(rows: list[Row]) -> str:
    """The mean AUC over trainings and the hull of their DeLong intervals, on the flip sample if there is one."""
    defined = [r for r in rows if r["auc"] is not None]
    sample = "flips" if any(r["sample"] == "flips" for r in defined) else "all"
    known = {r["score"]: r for r in defined if r["sample"] == sample}
    sentences = []
    if "flips" in known:
        sentences.append(
            f"The number of neurons finds the mislabeled examples with AUC {in_brackets(_interval(known['flips']), 3)}."
        )
    if others := [name for name in known if name != "flips"]:
        best = max(others, key=lambda name: (known[name]["auc"], name))
        name = best.replace("_", " ")
        what = (
            f"The best other score, {name}, has"
            if sentences
            else f"The best score, {name}, finds the mislabeled examples with"
        )
        sentences.append(f"{what} AUC {in_brackets(_interval(known[best]), 3)}.")
    return " ".join(sentences)


def _interval(row: Row) -> Interval:
    return Interval(row["auc"], row["lo"], row["hi"])


INSTRUMENT = Instrument(
    60,
    "Finding the mislabeled examples (§6.1)",
    "detection",
    "detection",
    "sample, score, avg(auc) AS auc, min(auc_lo) AS lo, max(auc_hi) AS hi",
    sentence,
    order="sample DESC, auc DESC, score",
    named=("memorized",),
)
