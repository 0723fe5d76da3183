"""A claim that needs memorization can be tested only on trainings that memorized (science.md, The paper's numbers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memloc.stages.instrument import LEAST_MEMORIZED


def testable(trials: Sequence[str], memorized: Mapping[str, float], training: Mapping[str, float]) -> tuple[list[str], str]:
    """(the trainings whose evaluation-mode noisy accuracy at T is at least 0.95, a note about the others).

    Args:
        memorized: {trial: that accuracy}, where it is known.
        training: {trial: noisy accuracy in the last epoch's training pass}, for the note about the others.
    """
    kept = [t for t in trials if memorized.get(t, 0.0) >= LEAST_MEMORIZED]
    if len(kept) == len(trials):
        return kept, ""
    low = [memorized[t] for t in trials if t in memorized and t not in kept]
    unknown = [t for t in trials if t not in memorized]
    words = []
    if low:
        words.append(f"noisy accuracy at the last epoch is {_range(low)}, below {LEAST_MEMORIZED}: not memorized")
    if unknown:
        passed = [training[t] for t in unknown if t in training]
        seen = f" (in the training pass it is {_range(passed)})" if passed else ""
        words.append(f"evaluation-mode noisy accuracy is not known{seen}: add `evaluate: {{}}` to the block's stages")
    said = "; ".join(words)
    return kept, f"without {len(trials) - len(kept)} of {len(trials)} trainings: {said}" if kept else said


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
