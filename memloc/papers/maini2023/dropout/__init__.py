"""Example-tied dropout (paper §6.2)."""

from __future__ import annotations

from collections.abc import Mapping

from memloc.papers.judgement import Judgement
from memloc.papers.maini2023.dropout import before_after, forgotten, tables
from memloc.papers.paper import Judged, section
from memloc.stages.instrument import LEAST_MEMORIZED, in_words
from memloc.statistics import in_brackets

TIMES = ("before", "after")


def sentence(judged: Judged) -> str:
    """What dropping does to the accuracies of the trainings that memorized, and which examples it forgets."""
    accuracies, learned = judged.get("E1", {}), judged.get("E5", {}).get("learning_time")
    changes = [
        f"{what} accuracy from {in_brackets(after.beside, 3)} to {after.printed(3)}"
        for what in ("noisy", "clean", "test")
        if (after := accuracies.get(f"after.{what}")) and after.beside
    ]
    if not changes:
        return _nothing_dropped(accuracies.get("before.noisy"))
    sentences = [f"Dropping the memorization neurons takes {in_words(changes)}{_of_some(accuracies)}."]
    if learned:
        auc = f"an AUC of {learned.printed(2)}"
        sentences.append(f"Learning time tells the clean examples that it forgets from the others with {auc}.")
    return " ".join(sentences)


def _of_some(accuracies: Mapping[str, Judgement]) -> str:
    """` (2 of 3 trainings)` if trainings are left out after dropping, because they did not memorize."""
    before, after = (max((j.seeds for part, j in accuracies.items() if part.startswith(when)), default=0) for when in TIMES)
    return f" ({after} of {before} trainings)" if after < before else ""


def _nothing_dropped(learned: Judgement | None) -> str:
    """Why there are no accuracies after dropping. learned: noisy accuracy before it."""
    if learned is None or learned.ours is None:
        return ""
    if learned.ours < LEAST_MEMORIZED:
        has = f"noisy accuracy {learned.printed(3)}"
        return f"Too few wrong labels are learned, so there is nothing to drop yet ({has})."
    return "Dropping was not evaluated: add mode `dropped` to `evaluate.modes`."


SECTION = section("Example-tied dropout", "§6.2", sentence, before_after, tables, forgotten)
