"""The table of accuracies, and what a summary says of networks without example-tied dropout."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row, in_words


def sentence(rows: list[Row]) -> str:
    """The accuracies of networks without example-tied dropout. Section 6.2 of the paper speaks of the others."""
    modes = {(r["mode"], r["rescale"]): r for r in rows}
    plain = modes.get(("plain", "none"))
    return _right(plain) if plain and ("own", "none") not in modes else ""


def _right(row: Row) -> str:
    """`0.999 of the clean, 0.993 of the noisy and 0.793 of the test examples are right.`, without unknown values."""
    known = [(row["clean"], "clean"), (row["noisy"], "noisy"), (row["test"], "test")]
    shares = [f"{value:.3f} of the {name}" for value, name in known if value is not None]
    return f"{in_words(shares)} examples are right."


INSTRUMENT = Instrument(
    10,
    "Accuracy (§6.2)",
    "evaluate",
    "evaluation",
    "mode, rescale, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test, avg(noisy_true_acc) AS true",
    sentence,
    memorizing=False,
)
