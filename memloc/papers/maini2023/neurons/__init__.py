"""The neurons that carry a prediction (paper §6.1)."""

from __future__ import annotations

from memloc.papers.maini2023.neurons import detection, flips
from memloc.papers.paper import Judged, section


def sentence(judged: Judged) -> str:
    """How many neurons flip an example of either set, and how well that number finds the mislabeled ones."""
    counts = judged.get("F1", {})
    noisy, clean, ratio = (counts.get(part) for part in ("noisy", "clean", "ratio"))
    found = judged.get("D1", {})
    sentences = []
    if noisy and clean:
        compared = f" (ratio {ratio.printed(2)})" if ratio else ""
        sentences.append(
            f"On average, closing {noisy.printed(2)} neurons flips a noisy example, and {clean.printed(2)} a clean "
            f"one{compared}."
        )
    # Averaging over trainings raises an AUC, and learning times are not averaged. So single trainings are compared.
    if auc := found.get("flips.single") or found.get("flips"):
        averaged = f", averaged over {auc.seeds} trainings," if auc.part == "flips" and auc.seeds > 1 else ""
        time = found.get("learning_time")
        beside = f"; learning time finds them with {time.printed(2)}" if time else ""
        sentences.append(
            f"The number of neurons{averaged} finds the mislabeled examples with an AUC of {auc.printed(2)}{beside}."
        )
    return " ".join(sentences)


SECTION = section("Neurons", "§6.1", sentence, flips, detection)
