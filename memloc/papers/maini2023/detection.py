"""D1: finding mislabeled examples by the number of neurons, and by training dynamics (paper §6.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import ndtri

from memloc.papers.maini2023.deciding import decided, over
from memloc.papers.maini2023.flipped_neurons import table, two_sided
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, of_stage
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.reaching import away, reaching
from memloc.papers.maini2023.settings import Setting
from memloc.statistics.quantities import auc_of_means
from memloc.statistics.regions import Region
from memloc.statistics.scales import AREA
from memloc.statistics.trainings import PRINTED, OverTrainings

GUESSING = Region(lo=0.5, open_lo=True)
AVERAGED = 30  # trainings over which the paper averages counts; the AUC of averaged counts grows with their number


def by_score(frame: pd.DataFrame, pairs: pd.DataFrame, score: str, paper: float | None, sql: str) -> Estimate | None:
    """AUC of one score, mean over trainings. None if there is no such score.

    It is at least the paper's number less the slack; if the paper has no number, it is above ½. The AUC is that on the flip
    sample if there is one, so that all scores are compared on the same examples; else on all examples.

    Args:
        frame: rows of `detection` of one setting's analyses, with data_seed.
        pairs: rows of `detection_pairs` of the same.
    """
    rows = of_score(frame, score)
    if rows.empty:
        return None
    quantity = mean_of_aucs(rows)
    compared = f"AUC over {rows['n'].mean():.0f} examples{_beside(rows, pairs, score)}{away(paper, quantity.value)}"
    region = GUESSING if paper is None else reaching(paper)
    return decided(quantity, region, compared, sorted(rows["trial"]), sql)


def by_mean_counts(
    frame: pd.DataFrame, pairs: pd.DataFrame, counts: pd.DataFrame, paper: float | None, sql: str
) -> Estimate | None:
    """AUC of minus the count, averaged over trainings, as the paper averages it over 30 before it speaks of examples.

    The paper's number is compared at 30 trainings or more; with fewer the AUC is shown.

    Args:
        counts: the eligible rows of `flips` that the analyses of `frame` read, with data_seed.
    """
    rows = of_score(frame, "flips")
    quantity = None if rows.empty else auc_of_mean_counts(counts)
    if quantity is None:
        return None
    both = two_sided(counts)
    trials, n = sorted(set(both["trial"])), len(both[["data_seed", "example"]].drop_duplicates())
    averaged = f"mean counts over {quantity.k} trainings" if quantity.k > 1 else "counts"
    compared = f"AUC of {averaged} of {n} examples{_beside(rows, pairs, 'flips')}"
    if paper is None:
        return decided(quantity, GUESSING, compared, trials, sql)
    if quantity.k < AVERAGED:
        fewer = (
            f"the AUC of averaged counts grows with the number of trainings, so it is compared with {paper:g} at {AVERAGED} "
            "trainings or more; flips.single has the AUC of one training"
        )
        return Estimate(quantity.printed, None, f"{compared}; {fewer}; {over(quantity)}", trials, sql)
    return decided(quantity, reaching(paper), compared + away(paper, quantity.value), trials, sql)


def of_score(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """The rows of `detection` with an AUC of this score, on the flip sample where there are such."""
    known = frame[(frame["score"] == score) & frame["auc"].notna()]
    sample = "flips" if (known["sample"] == "flips").any() else "all"
    rows: pd.DataFrame = known[known["sample"] == sample]
    return rows


def mean_of_aucs(rows: pd.DataFrame) -> OverTrainings:
    """The mean of trainings' AUCs. rows: columns auc, auc_lo, auc_hi (DeLong's 95 % interval, may be NaN), data_seed.

    Trainings with the same data_seed rank the same examples. Their DeLong errors are taken as equal and do not average out.
    """
    auc, lo, hi = (rows[name].to_numpy(dtype=np.float64) for name in ("auc", "auc_lo", "auc_hi"))
    errors = pd.Series(np.maximum(auc - lo, hi - auc) / ndtri((1 + PRINTED) / 2))  # one end may be clipped
    sums = (
        errors.groupby(rows["data_seed"].to_numpy(), dropna=False).sum(min_count=1)
        if not errors.isna().any()
        else pd.Series([math.nan])
    )
    value, error = float(auc.mean()), math.hypot(*sums) / len(auc)
    return OverTrainings(value, tuple(auc.tolist()), partial(_normal, value, error), AREA)


def auc_of_mean_counts(counts: pd.DataFrame) -> OverTrainings | None:
    """The AUC of minus the examples' counts, averaged over repeats, then over trainings. counts: as in `table`."""
    both = two_sided(counts)
    if both.empty:
        return None
    values, noisy = table(both, "count")
    return auc_of_means(-values, noisy)


def _normal(value: float, error: float, level: float) -> tuple[float, float] | None:
    half = float(ndtri((1 + level) / 2)) * error
    return None if math.isnan(half) else (value - half, value + half)


def _beside(rows: pd.DataFrame, pairs: pd.DataFrame, score: str) -> str:
    """Words after an AUC: mean paired differences to the claim's other scores, and mean precisions."""
    words = []
    for other in ("flips", "learning_time", "second_split"):
        diffs = _differences(pairs[pairs["sample"] == rows["sample"].iloc[0]], score, other)
        if diffs:
            words.append(f"{np.mean(diffs):+.3f} from {other}")
    paired = f" (on the same examples {', '.join(words)})" if words else ""
    return f"{paired}, average precision {rows['ap'].mean():.3f}, precision at |S_n| {rows['precision'].mean():.3f}"


def _differences(pairs: pd.DataFrame, score: str, other: str) -> Sequence[float]:
    one = pairs[(pairs["score"] == score) & (pairs["other"] == other)]["auc_diff"].dropna()
    reverse = pairs[(pairs["score"] == other) & (pairs["other"] == score)]["auc_diff"].dropna()
    return [*one, *(-reverse)]


# --- on a store -------------------------------------------------------------------------------------------------------


def _d1(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    chosen = among("analysis", setting.analyses.values())
    sql = f"SELECT * FROM detection WHERE {chosen} ORDER BY sample, score, trial"
    frame = observations.with_data_seed(observations.rows(observations.detection, setting))
    pairs = observations.rows(observations.detection_pairs, setting)
    singly = {"flips.single": "flips", "learning_time": "learning_time", "second_split": "second_split"}
    estimates = {part: by_score(frame, pairs, score, numbers.get(part), sql) for part, score in singly.items()}
    reads = {a["analysis"]: a["reads"] for a in observations.analyses}
    read = {r for analysis in setting.analyses.values() for r in reads[analysis]}
    counts = observations.with_data_seed(observations.flips[observations.flips["analysis"].isin(read)])
    of_counts = f"SELECT * FROM flip_counts WHERE {among('analysis', counts['analysis'].unique())}"
    averaged = by_mean_counts(frame, pairs, counts, numbers.get("flips"), of_counts) if len(counts) else None
    return {"flips": averaged, **estimates}


JUDGES = {"D1": Judge(of_stage("detection"), _d1)}
