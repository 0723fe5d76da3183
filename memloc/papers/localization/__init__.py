"""Does any method find where memorization lives? Methods of localization, judged by ground truth (docs/instruments.md)."""

from __future__ import annotations

from memloc.papers.localization import deleted, truths
from memloc.papers.paper import Paper

PAPER = Paper(
    "localization",
    "Do methods of localization find the neurons that hold an example?",
    "memloc, docs/instruments.md",
    (*truths.SECTIONS, deleted.SECTION),
)
