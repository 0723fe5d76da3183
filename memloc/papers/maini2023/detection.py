"""D1: finding mislabeled examples by the number of neurons, and by training dynamics (paper §6.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from memloc.papers.maini2023.flipped_neurons import table
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, of_stage
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.pooling import mean_auc, present, reaches
from memloc.papers.maini2023.settings import Setting
from memloc.statistics import Interval, auc_interval


def by_score(frame: pd.DataFrame, pairs: pd.DataFrame, score: str, paper: float | None, sql: str) -> Estimate | None:
    """AUC of one score, mean over trainings with DeLong's error.

    It holds if it reaches the paper's number less the slack. If the paper has no number, its interval must be above ½. The
    AUC is that on the flip sample if there is one, so that all scores are compared on the same examples; else on all
    examples. None if there is no such score.

    Args:
        frame: rows of `detection` of one setting's analyses.
        pairs: rows of `detection_pairs` of the same.
    """
    rows = _of_score(frame, score)
    if rows.empty:
        return None
    estimate = _mean(rows)
    holds, says = _reaches_or_half(estimate, paper)
    over = f"{len(rows)} trainings and " if len(rows) > 1 else ""
    reason = f"AUC over {over}{rows['n'].mean():.0f} examples; {says}{_beside(rows, pairs, score)}"
    return Estimate(estimate, holds, reason, sorted(rows["trial"]), sql)


def by_mean_counts(
    frame: pd.DataFrame, pairs: pd.DataFrame, counts: pd.DataFrame, paper: float | None, sql: str
) -> Estimate | None:
    """As `by_score`, for minus the mean count over every (training, repeat).

    The paper averages an example's count over 30 trainings before it says how well counts find the mislabeled. The interval
    is DeLong's, over examples. An example that is noisy in only some trainings counts as two, as in `table`. The reason also
    has the AUCs of the single trainings.

    Args:
        counts: the eligible rows of `flips` that the analyses of `frame` read.
    """
    rows = _of_score(frame, "flips")
    if rows.empty:
        return None
    values, noisy = table(counts, "count")
    estimate = auc_interval(-np.nanmean(values, axis=0), noisy)
    if estimate is None:
        return None
    holds, says = _reaches_or_half(estimate, paper)
    averaged = f"mean counts over {len(values)} (training, repeat)" if len(values) > 1 else "counts"
    alone = _mean(rows)
    interval = "" if alone.lo is None else f" [{alone.lo:.3f}, {alone.hi:.3f}]"
    singly = f"; mean of {len(rows)} trainings' own AUCs {alone.value:.3f}{interval}" if len(rows) > 1 else ""
    reason = (
        f"AUC of {averaged} of {len(noisy)} examples; {says}; interval over examples{singly}{_beside(rows, pairs, 'flips')}"
    )
    return Estimate(estimate, holds, reason, sorted(rows["trial"]), sql)


def _of_score(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """The rows of `detection` with an AUC of this score, on the flip sample where there are such."""
    known = frame[(frame["score"] == score) & frame["auc"].notna()]
    sample = "flips" if (known["sample"] == "flips").any() else "all"
    rows: pd.DataFrame = known[known["sample"] == sample]
    return rows


def _mean(rows: pd.DataFrame) -> Interval:
    return present(mean_auc([_interval(*row) for row in rows[["auc", "auc_lo", "auc_hi"]].to_numpy(dtype=np.float64)]))


def _reaches_or_half(estimate: Interval, paper: float | None) -> tuple[bool, str]:
    """As `reaches`. Without a number of the paper, the interval must be above ½, the AUC of guessing."""
    if paper is None:
        return estimate.lo is not None and estimate.lo > 0.5, "its interval must be above 0.5"
    return reaches(estimate, paper)


def _beside(rows: pd.DataFrame, pairs: pd.DataFrame, score: str) -> str:
    """The rest of the reason of an AUC: mean paired differences to the claim's other scores, and mean precisions."""
    words = []
    for other in ("flips", "learning_time", "second_split"):
        diffs = _differences(pairs[pairs["sample"] == rows["sample"].iloc[0]], score, other)
        if diffs:
            words.append(f"{np.mean(diffs):+.3f} from {other}")
    paired = f"; on the same examples {', '.join(words)}" if words else ""
    return f"{paired}; average precision {rows['ap'].mean():.3f}, precision at |S_n| {rows['precision'].mean():.3f}"


def _differences(pairs: pd.DataFrame, score: str, other: str) -> Sequence[float]:
    one = pairs[(pairs["score"] == score) & (pairs["other"] == other)]["auc_diff"].dropna()
    reverse = pairs[(pairs["score"] == other) & (pairs["other"] == score)]["auc_diff"].dropna()
    return [*one, *(-reverse)]


def _interval(value: float, lo: float, hi: float) -> Interval:
    return Interval(value, None, None) if np.isnan(lo) or np.isnan(hi) else Interval(value, lo, hi)


# --- on a store -------------------------------------------------------------------------------------------------------


def _d1(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    chosen = among("analysis", setting.analyses.values())
    sql = f"SELECT * FROM detection WHERE {chosen} ORDER BY sample, score, trial"
    frame, pairs = (observations.rows(table, setting) for table in (observations.detection, observations.detection_pairs))
    by_times = {score: by_score(frame, pairs, score, numbers.get(score), sql) for score in ("learning_time", "second_split")}
    reads = {a["analysis"]: a["reads"] for a in observations.analyses}
    read = {r for analysis in setting.analyses.values() for r in reads[analysis]}
    counts = observations.flips[observations.flips["analysis"].isin(read)]
    of_counts = f"SELECT * FROM flip_counts WHERE {among('analysis', counts['analysis'].unique())}"
    return {"flips": by_mean_counts(frame, pairs, counts, numbers.get("flips"), of_counts), **by_times}


JUDGES = {"D1": Judge(of_stage("detection"), _d1)}
