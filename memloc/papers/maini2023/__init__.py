"""Can Neural Network Memorization Be Localized? (Maini et al., ICML 2023)."""

from __future__ import annotations

from memloc.papers.maini2023 import gradients
from memloc.papers.paper import Paper

PAPER = Paper(
    "maini2023",
    "Can Neural Network Memorization Be Localized?",
    "Maini et al., ICML 2023, arXiv:2307.09542",
    (gradients.SECTION,),
)
