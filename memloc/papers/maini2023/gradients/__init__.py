"""The gradients of clean examples against those of noisy examples (paper §4, Appendix A)."""

from __future__ import annotations

from memloc.papers.maini2023.gradients import cosines, noise_rates, norms
from memloc.papers.paper import Judged, section


def sentence(judged: Judged) -> str:
    """The ratio of norms, the cosine, and whether they cancel."""
    ratio, cosine, total = (judged.get(claim, {}).get("") for claim in ("G1", "G2", "G4"))
    sentences = []
    if ratio:
        layer = norms.shown_layer(ratio, "the two differ most", "the two clearly differ")
        sentences.append(
            f"The gradient of the noisy examples has {ratio.printed(2)} times the norm of the clean one, in {layer}."
        )
    if cosine:
        when, both = ("they", "the two") if sentences else ("noisy examples", "the clean and the noisy gradient")
        sentences.append(
            f"While {when} are memorized, the cosine of {both} is {cosine.printed(2)} in the layer where it is largest."
        )
    if total:
        both = "Their sum" if sentences else "The sum of the clean and the noisy gradient"
        layer = norms.shown_layer(total, "this is largest", "this is clearly 1 or more")
        sentences.append(f"{both} has {total.printed(2)} times the smaller of the two norms, in {layer}.")
    return " ".join(sentences)


SECTION = section("Gradients", "§4, Appendix A", sentence, norms, cosines, noise_rates)
