"""Example-tied dropout (paper §6.2)."""

from __future__ import annotations

from memloc.papers.maini2023.dropout import before_after, forgotten, tables
from memloc.papers.paper import Judged, Section, in_order
from memloc.stages.instrument import in_words

_NOTHING_YET = "Too few wrong labels are learned, so there is nothing to drop yet"


def sentence(judged: Judged) -> str:
    """What dropping does to the accuracies, and which examples it forgets."""
    accuracies, learned = judged.get("E1", {}), judged.get("E5", {}).get("learning_time")
    changes = [
        f"{what} accuracy from {before.printed(3)} to {after.printed(3)}"
        for what in ("noisy", "clean", "test")
        if (before := accuracies.get(f"before.{what}")) and (after := accuracies.get(f"after.{what}"))
    ]
    if not changes:
        learned_so_far = accuracies.get("before.noisy")
        return f"{_NOTHING_YET} (noisy accuracy {learned_so_far.printed(3)})." if learned_so_far else ""
    sentences = [f"Dropping the memorization neurons takes {in_words(changes)}."]
    if learned:
        auc = f"an AUC of {learned.printed(2)}"
        sentences.append(f"Learning time tells the clean examples that it forgets from the others with {auc}.")
    return " ".join(sentences)


SECTION = Section(
    "Example-tied dropout",
    "§6.2",
    in_order(before_after.CLAIMS, tables.CLAIMS, forgotten.CLAIMS),
    in_order(before_after.EXHIBITS, tables.EXHIBITS, forgotten.EXHIBITS),
    sentence,
)
