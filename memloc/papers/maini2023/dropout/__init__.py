"""Example-tied dropout (paper §6.2)."""

from __future__ import annotations

from memloc.papers.maini2023.dropout import baselines, before_after, forgotten, grid
from memloc.papers.maini2023.dropout.before_after import PICTURE
from memloc.papers.paper import Judged, Section

__all__ = ["PICTURE", "SECTION"]


def sentence(judged: Judged) -> str:
    """What dropping does to the accuracies, and which examples it forgets."""
    accuracies, learned = judged.get("E1", {}), judged.get("E5", {}).get("learning_time")
    changes = [
        f"{what} accuracy from {before.printed(3)} to {after.printed(3)}"
        for what in ("noisy", "clean", "test")
        if (before := accuracies.get(f"before.{what}")) and (after := accuracies.get(f"after.{what}"))
    ]
    if not changes:
        return ""
    *others, last = changes
    listed = " and ".join([", ".join(others), last] if others else [last])
    sentences = [f"Dropping the memorization neurons takes {listed}."]
    if learned:
        sentences.append(f"The clean examples that it forgets are told by their learning time: AUC {learned.printed(2)}.")
    return " ".join(sentences)


SECTION = Section(
    "Example-tied dropout",
    "§6.2",
    (before_after.E1, grid.E2, baselines.E3, before_after.E4, forgotten.E5),
    (before_after.TABLE_1_EXHIBIT, grid.TABLE, baselines.TABLE, forgotten.GALLERY),
    sentence,
)
