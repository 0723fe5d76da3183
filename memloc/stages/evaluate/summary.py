"""What a summary says of accuracies, with all neurons and without those of memorization."""

from __future__ import annotations

from memloc.stages.instrument import LEAST_MEMORIZED, Instrument, Row, in_words


def sentence(rows: list[Row]) -> str:
    """The accuracies before dropping; if the networks memorized, those after dropping too.

    Before dropping, example-tied networks have their own masks on the training sets and scaled ones on the test set. All
    others are plain.
    """
    modes = {(r["mode"], r["rescale"]): r for r in rows}
    before, scaled, after = (modes.get((m, "none")) for m in ("own", "scaled", "dropped"))
    plain = modes.get(("plain", "none"))
    if before is None:
        return _right(plain, plain["test"]) if plain else ""
    first = _right(before, scaled["test"] if scaled else None)
    if after is None or before["noisy"] is None:
        return first
    if before["noisy"] < LEAST_MEMORIZED:
        return f"{first} Too few wrong labels are learned, so there is nothing to drop yet."
    left = [f"{v:.3f}" for v in (after["clean"], after["noisy"], after["test"]) if v is not None]
    true = "" if after["true"] is None else f", and {100 * after['true']:.0f} % of the noisy examples get their true label"
    return f"{first} Without the memorization neurons these accuracies are {in_words(left)}{true}."


def _right(row: Row, test: float | None) -> str:
    """`0.999 of the clean, 0.993 of the noisy and 0.793 of the test examples are right.`, without unknown values."""
    known = [(row["clean"], "clean"), (row["noisy"], "noisy"), (test, "test")]
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
