"""Where memorization is: layers that are rewound, and layers that are trained again (paper §5, Appendix B)."""

from __future__ import annotations

from memloc.papers.maini2023.layers import retraining, rewinding
from memloc.papers.maini2023.layers.accuracies import KEPT
from memloc.papers.paper import Judged, section


def sentence(judged: Judged) -> str:
    """How often a noisy accuracy is kept after rewinding, and how many layers reach it by retraining."""
    kept, reached = (judged.get(claim, {}).get("") for claim in ("L1", "R1"))
    sentences = []
    if kept:
        sentences.append(
            "One layer was set back to an epoch before the noisy examples are learned. In a share of "
            f"{kept.printed(2)} of the layers and epochs, noisy accuracy stays at {KEPT} or more."
        )
    if reached:
        sentences.append(
            "One layer was trained again, on clean examples alone. In a share of "
            f"{reached.printed(2)} of the layers, noisy accuracy comes back to {KEPT} or more."
        )
    return " ".join(sentences)


SECTION = section("Layers", "§5, Appendix B", sentence, rewinding, retraining)
