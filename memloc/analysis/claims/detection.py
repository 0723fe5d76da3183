"""D1: finding mislabeled examples by the number of neurons, and by what training showed of them (paper §6.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from memloc.analysis.claims.estimates import mean_auc, reaches
from memloc.analysis.claims.judgement import Found
from memloc.statistics import Interval, auc_interval


def found_by(frame: pd.DataFrame, pairs: pd.DataFrame, score: str, paper: float | None, sql: str) -> Found | None:
    """AUC of one score, mean over trainings with DeLong's error; holds where it reaches the paper's number, less the slack
    (where it has none: where its interval is above ½).

    On the flip sample, where it was taken, so that the scores are compared on the same examples; else on all. None where
    there is no such score.

    Args:
        frame: rows of `detection` of one setting's analyses.
        pairs: rows of `detection_pairs` of the same.
    """
    of = frame[(frame["score"] == score) & frame["auc"].notna()]
    if of.empty:
        return None
    sample = "flips" if (of["sample"] == "flips").any() else "all"
    of = of[of["sample"] == sample]
    estimate = mean_auc([_interval(*row) for row in of[["auc", "auc_lo", "auc_hi"]].to_numpy(dtype=np.float64)])
    assert estimate is not None, "there are rows"
    holds, says = _reaches_or_half(estimate, paper)
    over = f"{len(of)} trainings and " if len(of) > 1 else ""
    reason = (
        f"AUC over {over}{of['n'].mean():.0f} examples, {says}{_beside(pairs, score, sample)}; "
        f"average precision {of['ap'].mean():.3f}, precision at |S_n| {of['precision'].mean():.3f}"
    )
    return Found(estimate, holds, reason, sorted(of["trial"]), sql)


def _reaches_or_half(estimate: Interval, paper: float | None) -> tuple[bool, str]:
    """As `reaches`; without a number of the paper, whether the interval is above ½, which is guessing."""
    if paper is None:
        return estimate.lo is not None and estimate.lo > 0.5, "its interval to be above 0.5"
    return reaches(estimate, paper)


def pooled(counts: pd.DataFrame) -> Interval | None:
    """AUC of the examples' mean counts over all trainings, as the paper averages them; counts: columns noisy, mean."""
    scores, noisy = -counts["mean"].to_numpy(dtype=np.float64), counts["noisy"].to_numpy(dtype=bool)
    return auc_interval(scores, noisy)


def _beside(pairs: pd.DataFrame, score: str, sample: str) -> str:
    """The paired differences to the other scores of the claim, mean over trainings."""
    words = []
    for other in ("flips", "learning_time", "second_split"):
        diffs = _differences(pairs[pairs["sample"] == sample], score, other)
        if diffs:
            words.append(f"{np.mean(diffs):+.3f} from {other}")
    return f"; on the same examples {', '.join(words)}" if words else ""


def _differences(pairs: pd.DataFrame, score: str, other: str) -> Sequence[float]:
    one = pairs[(pairs["score"] == score) & (pairs["other"] == other)]["auc_diff"].dropna()
    reverse = pairs[(pairs["score"] == other) & (pairs["other"] == score)]["auc_diff"].dropna()
    return [*one, *(-reverse)]


def _interval(value: float, lo: float, hi: float) -> Interval:
    return Interval(value, None, None) if np.isnan(lo) or np.isnan(hi) else Interval(value, lo, hi)
