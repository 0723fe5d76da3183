"""What a summary says of accuracies, with all neurons and without those of memorization."""

from __future__ import annotations

from memloc.stages.instrument import Instrument, Row


def sentence(rows: list[Row]) -> str:
    """Before dropping: own masks on the training sets, scaled on test (example-tied); else plain."""
    modes = {(r["mode"], r["rescale"]): r for r in rows}
    before, scaled, after = (modes.get((m, "none")) for m in ("own", "scaled", "dropped"))
    plain = modes.get(("plain", "none"))
    words = []
    if before:
        words.append(_triple(before, scaled["test"] if scaled else None))
    elif plain:
        words.append(_triple(plain, plain["test"]))
    if after:
        words.append(f"dropped: {_triple(after, after['test'])}")
    return ", ".join(words)


def _triple(row: Row, test: float | None) -> str:
    return " / ".join("–" if v is None else f"{v:.3f}" for v in (row["clean"], row["noisy"], test))


INSTRUMENT = Instrument(
    10,
    "Accuracy on clean / noisy / test examples, and with the memorization neurons dropped (§6.2)",
    "evaluate",
    "evaluation",
    "mode, rescale, avg(clean_acc) AS clean, avg(noisy_acc) AS noisy, avg(test_acc) AS test",
    sentence,
)
