"""F1 against the width of the network."""

from __future__ import annotations

from memloc.papers.maini2023.neurons import flips
from memloc.papers.maini2023.widths import Picture, against_width

(_F1,) = (claim for claim in flips.CLAIMS if claim.id == "F1")

EXHIBITS = (
    against_width(
        "width-neurons",
        "flip_counts",
        "Neurons to close until a prediction flips, against the width",
        "The mean number of neurons of noisy and of clean examples (F1). If a wider network is more redundant, an example "
        "needs more of its neurons.",
        (Picture(_F1, {"noisy": "noisy", "clean": "clean"}, "neurons"),),
    ),
)
