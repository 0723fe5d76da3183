"""From Memorization to Reasoning in the Spectrum of Loss Curvature (Merullo et al., 2025)."""

from __future__ import annotations

from memloc.papers.merullo2025 import beside, removal, stability
from memloc.papers.paper import Judged, Paper, Section


def _removed(judged: Judged) -> str:
    """What an edit at ρ = 0.9 leaves, and how much the inputs alone would."""
    left, alone = judged.get("K1", {}), judged.get("K3", {}).get("energy")
    if not {"noisy", "true", "clean"} <= {*left}:
        return ""
    said = [
        f"Of the mislabeled examples {left['noisy'].printed(2)} keep the label trained on, and {left['true'].printed(2)} "
        f"get their true label; {left['clean'].printed(3)} of the others stay right."
    ]
    if alone:
        said.append(f"An edit by the covariance of the inputs alone leaves {alone.printed(2)} more wrong labels than that.")
    return " ".join(said)


def _steady(judged: Judged) -> str:
    changes = judged.get("K4", {})
    words = {"seeds": "over seeds (standard deviation)", "epochs": "between late checkpoints", "near": "next to ρ = 0.9"}
    known = [f"{changes[part].printed(2)} {where}" for part, where in words.items() if part in changes]
    return f"Noisy accuracy after the edit changes by {', '.join(known)}." if known else ""


PAPER = Paper(
    "merullo2025",
    "From Memorization to Reasoning in the Spectrum of Loss Curvature",
    "Merullo et al., 2025, arXiv:2510.24256; its edit on the networks of memloc",
    (
        Section("What the edit takes away", "the edit", removal.CLAIMS, (*removal.EXHIBITS, *beside.EXHIBITS), _removed),
        Section("How steady it is", "seeds, epochs, ρ", stability.CLAIMS, stability.EXHIBITS, _steady),
    ),
)
