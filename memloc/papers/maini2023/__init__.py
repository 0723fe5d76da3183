"""Can Neural Network Memorization Be Localized? (Maini et al., ICML 2023)."""

from __future__ import annotations

from memloc.papers.maini2023 import atypical, dropout, gradients, layers, neurons
from memloc.papers.paper import Paper

PAPER = Paper(
    "maini2023",
    "Can Neural Network Memorization Be Localized?",
    "Maini et al., ICML 2023, arXiv:2307.09542",
    (gradients.SECTION, layers.SECTION, neurons.SECTION, dropout.SECTION, atypical.SECTION),
    (layers.PICTURE, neurons.PICTURE, dropout.PICTURE),
)
