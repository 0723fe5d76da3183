"""Can Neural Network Memorization Be Localized? (Maini et al., ICML 2023)."""

from __future__ import annotations

from memloc.papers.maini2023 import atypical, dropout, gradients, layers, neurons
from memloc.papers.maini2023.dropout import before_after
from memloc.papers.maini2023.layers import rewinding
from memloc.papers.maini2023.neurons import flips
from memloc.papers.paper import Paper

PAPER = Paper(
    "maini2023",
    "Can Neural Network Memorization Be Localized?",
    "Maini et al., ICML 2023, arXiv:2307.09542",
    (gradients.SECTION, layers.SECTION, neurons.SECTION, dropout.SECTION, atypical.SECTION),
    (rewinding.PICTURE, flips.PICTURE, before_after.PICTURE),
)
