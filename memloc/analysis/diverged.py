"""The trainings that have diverged, in words."""

from __future__ import annotations

from memloc.analysis.reader import Reader
from memloc.counts import counted

SHOWN = 3  # trainings that are named
# The loss of the last epoch is not finite. In an epoch before it a single example may have overflowed.
DIVERGED = """SELECT trial, min(epoch) FILTER (NOT isfinite(loss)) AS first FROM epochs
    GROUP BY trial HAVING NOT isfinite(arg_max(loss, epoch)) ORDER BY trial"""


def diverged_in_words(reader: Reader) -> str:
    """`1 of 3 trainings diverged: 1c404f06 (first in epoch 1). Its loss is not finite, …`; "" if none did."""
    rows = reader.sql(DIVERGED).to_pylist()
    if not rows:
        return ""
    trainings = counted(reader.sql("SELECT count(*) AS n FROM trials")["n"][0].as_py(), "training")
    named = ", ".join(f"{row['trial'][:8]} (first in epoch {row['first']})" for row in rows[:SHOWN])
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    their, networks = ("Its", "a network that gives") if len(rows) == 1 else ("Their", "networks that give")
    return (
        f"{len(rows)} of {trainings} diverged: {named}{more}. {their} loss is not finite at the end, and {their.lower()} "
        f"accuracies are those of {networks} NaN. A smaller lr may help."
    )
