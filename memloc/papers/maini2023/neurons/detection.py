"""D1: finding mislabeled examples by the number of neurons, and by training dynamics (paper §6.1).

The paper gives these AUCs in its text and has no figure of them.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observed import Observed, trials_of
from memloc.analysis.pooled_draws import aucs_by_draws
from memloc.analysis.searches import Searches
from memloc.papers.charts import Curves, Dots, line
from memloc.papers.claims import Case, Claim, Estimates, here, of_stage
from memloc.papers.deciding import ABOVE_HALF, Estimate, away, decided, estimated, reaching, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.statistics import quantities
from memloc.statistics.quantities import auc_of_means, mean_of_trainings
from memloc.statistics.scales import AREA
from memloc.statistics.trainings import OverTrainings

AVERAGED = 30  # trainings over which the paper averages counts; the AUC of averaged counts grows with their number


def by_score(frame: pd.DataFrame, pairs: pd.DataFrame, score: str, paper: float | None, sql: str) -> Estimate | None:
    """AUC of one score, mean over trainings. None if the score was not computed.

    It is at least the paper's number less the slack; if the paper has no number, it is above ½. The AUC is that on the flip
    sample if there is one, so that all scores are compared on the same examples; else on all examples.

    Args:
        frame: rows of `detection` of one setting's analyses, with data_seed.
        pairs: rows of `detection_pairs` of the same.
    """
    rows = of_score(frame, score)
    if rows.empty:
        return _without_auc(frame, score, sql)
    quantity = mean_of_aucs(rows)
    compared = f"AUC over {rows['n'].mean():.0f} examples{_beside(rows, pairs, score)}{away(paper, quantity.value)}"
    region = ABOVE_HALF if paper is None else reaching(paper)
    return decided(quantity, region, compared, trials_of(rows), sql)


def by_mean_counts(
    frame: pd.DataFrame, pairs: pd.DataFrame, searches: Searches, paper: float | None, sql: str
) -> Estimate | None:
    """AUC of minus the count, averaged over trainings, as the paper averages it over 30 before it speaks of examples.

    The paper's number is compared at 30 trainings or more; with fewer the AUC is shown.

    Args:
        searches: those that the analyses of `frame` read.
    """
    rows = of_score(frame, "flips")
    quantity = None if rows.empty else auc_of_mean_counts(searches)
    if quantity is None:
        return _without_auc(frame, "flips", sql)
    trials, _, noisy = searches.two_sided("count")
    averaged = f"mean counts over {quantity.k} trainings" if quantity.k > 1 else "counts"
    compared = f"AUC of {averaged} of {len(noisy)} examples{_beside(rows, pairs, 'flips')}"
    if paper is None:
        return decided(quantity, ABOVE_HALF, compared, trials, sql)
    if quantity.k < AVERAGED:
        fewer = (
            f"the AUC of averaged counts grows with the number of trainings, so it is compared with {paper:g} at {AVERAGED} "
            "trainings or more; flips.single has the AUC of one training"
        )
        return estimated(quantity, None, f"{compared}; {fewer}", trials, sql)
    return decided(quantity, reaching(paper), compared + away(paper, quantity.value), trials, sql)


def _without_auc(frame: pd.DataFrame, score: str, sql: str) -> Estimate | None:
    """A score that was computed and has no AUC is not testable. None if it was not computed."""
    computed = frame[frame["score"] == score]
    why = "it has no AUC: no training has it for both clean and mislabeled examples"
    return None if computed.empty else untestable(why, trials_of(computed), sql)


def of_score(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """The rows of `detection` with an AUC of this score, on the flip sample where there are such."""
    known = frame[(frame["score"] == score) & frame["auc"].notna()]
    sample = "flips" if (known["sample"] == "flips").any() else "all"
    rows: pd.DataFrame = known[known["sample"] == sample]
    return rows


def mean_of_aucs(rows: pd.DataFrame) -> OverTrainings:
    """The mean of trainings' AUCs. Trainings with the same data_seed rank the same examples. rows: of `detection`."""
    auc, lo, hi = (rows[name].to_numpy(dtype=np.float64) for name in ("auc", "auc_lo", "auc_hi"))
    return quantities.mean_of_aucs(auc, (lo, hi), rows["data_seed"].to_numpy())


def auc_of_mean_counts(searches: Searches) -> OverTrainings | None:
    """The AUC of minus the examples' counts, averaged over repeats, then over trainings."""
    trials, values, noisy = searches.two_sided("count")
    return auc_of_means(-values, noisy) if trials else None


def _beside(rows: pd.DataFrame, pairs: pd.DataFrame, score: str) -> str:
    """Words after an AUC: mean paired differences to the claim's other scores, and mean precisions."""
    same = pairs[pairs["sample"] == rows["sample"].iloc[0]].dropna(subset=["auc_diff"])
    turned = same.rename(columns={"score": "other", "other": "score"}).assign(auc_diff=-same["auc_diff"])
    both = pd.concat([same, turned])
    means = both[both["score"] == score].groupby("other")["auc_diff"].mean()
    words = [f"{means[other]:+.3f} from {other}" for other in ("flips", "learning_time", "second_split") if other in means]
    paired = f" (on the same examples {', '.join(words)})" if words else ""
    return f"{paired}, average precision {rows['ap'].mean():.3f}, precision at |S_n| {rows['precision'].mean():.3f}"


SINGLY = {"flips.single": "flips", "learning_time": "learning_time", "second_split": "second_split"}  # part: score


def _rows(one: Observed) -> tuple[pd.DataFrame, str]:
    """The rows of `detection` of a setting, and the SQL that returns them."""
    return one.dated("detection"), one.select("detection", "sample, score, trial")


def _read(one: Observed) -> tuple[list[str], str]:
    """(the analyses of `flips` that a setting's analyses read, the SQL that returns their eligible rows)."""
    rows = {a["analysis"]: a for a in one.observations.analyses}
    chosen = sorted({r for analysis in one.setting.analyses.values() for r in rows[analysis]["reads"]})
    flips = [r for r in chosen if r in rows and rows[r]["stage"] == "flips"]
    return flips, f"SELECT * FROM flip_counts WHERE {among('analysis', chosen)}"


def _d1(case: Case) -> Estimates:
    (frame, sql), pairs, numbers = _rows(case), case.rows("detection_pairs"), case.numbers
    estimates = {part: by_score(frame, pairs, score, numbers.get(part), sql) for part, score in SINGLY.items()}
    flips, read = _read(case)
    searches = Searches.read(case.observations, flips)
    return {"flips": by_mean_counts(frame, pairs, searches, numbers.get("flips"), read), **estimates}


CLAIMS = (
    Claim(
        "D1",
        "§6.1",
        "mislabeled examples are found by the number of neurons, and by learning and second-split forgetting time",
        "detection",
        _d1,
        here({"flips": 0.89, "flips.single": None, "learning_time": 0.87, "second_split": 0.93}),
        part_stages={"second_split": ("detection", "second_split")},
    ),
)

SCORES = {
    "flips": "neurons to flip",
    "learning_time": "learning time",
    "forgetting": "forgetting events",
    "second_split": "forgetting time",
    "aum": "area under the margin",
    "el2n": "EL2N",
    "loss": "mean loss",
    "probability": "probability of the label",
    "c_score": "C-score",
}
AVERAGED_FIRST = "neurons to flip, averaged"


def _dots(subject: Subject) -> Drawn:
    """The AUC of every score, as in D1. With several trainings, also that of averaged counts."""
    frame, sql = _rows(subject)
    there = [*SCORES, *sorted(set(frame["score"]) - set(SCORES))]
    aucs = {SCORES.get(s, s): mean_of_aucs(rows) for s in there if len(rows := of_score(frame, s))}
    searches = Searches.read(subject.observations, _read(subject)[0])
    averaged = auc_of_mean_counts(searches) if SCORES["flips"] in aucs else None
    if averaged and averaged.k > 1:
        aucs = {AVERAGED_FIRST: averaged, **aucs}
    dots = Dots(subject.titled("Scores"), list(aucs), {"AUC": list(aucs.values())}, "AUC", sql)
    return [*([dots] if aucs else []), *_by_draws(subject)]


def _by_draws(subject: Subject) -> list[Curves]:
    """The AUC of counts that are averaged over more and more searches. Nothing if an example has one search.

    A line per data_seed: trainings with the same one search for the same examples.
    """
    flips, read = _read(subject)
    if not flips:
        return []
    sql = f"""WITH searched AS (
  SELECT DISTINCT json_merge_patch(trials.config, '{{"seed": null}}')::VARCHAR AS setting, analyses.config AS analysis_config
  FROM analyses JOIN trials USING (trial) WHERE analysis IN (SELECT analysis FROM ({read})))
SELECT setting, draws, auc FROM flips_auc_pooled JOIN searched USING (setting, analysis_config)
WHERE auc IS NOT NULL ORDER BY setting, draws"""
    aucs = aucs_by_draws(subject.observations, flips)
    if aucs.shape[1] < 2:
        return []
    auc = line("AUC", aucs, partial(mean_of_trainings, scale=AREA))
    title, x_label = subject.titled("Neurons to flip"), "trainings × repeats over which counts are averaged"
    return [Curves(title, {"": [auc]}, x_label, "AUC", sql, rule=(0.5, "guessing"))]


EXHIBITS = (
    Exhibit(
        "detection",
        "In the text of §6.1",
        "Which score finds the mislabeled examples",
        "§6.1",
        "Areas under the ROC curve, on the examples that were searched if some were. The paper averages each example's "
        "number of neurons over its trainings first. The second chart shows what this gains, over all trainings that were "
        "searched.",
        "memloc sweep flips",
        of_stage("detection"),
        per_setting(_dots),
        claims=("D1",),
        shown=4,
    ),
)
