"""Deep Learning Through the Lens of Example Difficulty (Baldock, Maennel and Neyshabur, NeurIPS 2021)."""

from __future__ import annotations

from memloc.papers.agreement import atlas
from memloc.papers.baldock2021 import resolving, subspaces, where
from memloc.papers.claims import of_stage
from memloc.papers.paper import Judged, Paper, Section


def _sentence(judged: Judged) -> str:
    later, found = judged.get("B1", {}).get(""), judged.get("B2", {})
    sentences = []
    if later:
        sentences.append(f"Mislabeled examples are resolved {later.printed(1)} probes later than the others.")
    if "depth" in found and "input" in found:
        sentences.append(
            f"Prediction depth finds them with an AUC of {found['depth'].printed(3)}; neighbours among plain pixels, which "
            f"need no network, with {found['input'].printed(3)}."
        )
    return " ".join(sentences)


def _readable(judged: Judged) -> str:
    hidden = judged.get("K1", {}).get("")
    if hidden is None:
        return ""
    return f"Subspaces of the best hidden layer give {hidden.printed(2)} of the mislabeled examples their true label."


PAPER = Paper(
    "baldock2021",
    "Deep Learning Through the Lens of Example Difficulty",
    "Baldock et al., NeurIPS 2021, arXiv:2106.09647; with the probes by subspaces of Ketha and Ramaswamy",
    (
        Section(
            "Prediction depth",
            "Baldock et al.",
            resolving.CLAIMS,
            (*resolving.EXHIBITS, *where.EXHIBITS, atlas(of_stage("depth"), "memloc sweep depth")),
            _sentence,
        ),
        Section("Subspaces", "Ketha & Ramaswamy", subspaces.CLAIMS, subspaces.EXHIBITS, _readable),
    ),
)
