"""E5 and A1: clean examples that dropping forgets are atypical (paper §6.2); atypical examples behave as mislabeled ones
(paper §7, B.2).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from memloc.papers.maini2023.deciding import untestable
from memloc.papers.maini2023.gradients import alike, gradient_rows
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge
from memloc.papers.maini2023.layers import ALL, retrain_rows, retrained, rewinding_costs
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.pooling import mean_auc
from memloc.papers.maini2023.settings import Setting
from memloc.papers.maini2023.tied_dropout import table_1_settings
from memloc.statistics import auc_interval


def forgotten_are_atypical(histogram: pd.DataFrame, what: str, sql: str) -> Estimate | None:
    """E5: clean examples that dropping forgets are more atypical than those that it keeps: the AUC is above 0.5.

    histogram: columns trial, forgotten, score (higher: more atypical), n (examples).
    """
    intervals, trials, forgotten = [], [], 0
    for trial, rows in histogram.groupby("trial"):
        n = rows["n"].to_numpy(dtype=np.int64)
        scores, lost = rows["score"].to_numpy(dtype=np.float64).repeat(n), rows["forgotten"].to_numpy(dtype=bool).repeat(n)
        if (interval := auc_interval(scores, lost)) is not None:
            intervals.append(interval)
            trials.append(str(trial))
            forgotten += int(lost.sum())
    estimate = mean_auc(intervals)
    if estimate is None:
        return Estimate(
            None, None, "dropping forgets no clean example, or all of them", sorted(set(histogram["trial"])), sql
        )
    reason = (
        f"AUC of {what} for clean examples that dropping forgets ({forgotten / len(trials):.0f} a training) against those "
        f"it keeps; its interval must be above 0.5"
    )
    return Estimate(estimate, estimate.lo is not None and estimate.lo > 0.5, reason, trials, sql)


# --- on a store --------------------------------------------------------------------------------------------------------


def _e5(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    chosen, trials = among("analysis", setting.analyses.values()), among("trial", setting.trials)
    modes = ", ".join(f"bool_or(correct) FILTER (mode = '{mode}') AS {mode}" for mode in ("own", "dropped"))
    forgotten = (
        "SELECT trial, example, NOT dropped AS forgotten, learning_time "
        f"FROM (SELECT trial, example, {modes} FROM predictions WHERE rescale = 'none' AND {chosen} GROUP BY ALL) "
        f"JOIN (SELECT trial, example, learning_time FROM examples WHERE NOT noisy AND {trials}) USING (trial, example) "
        "WHERE own AND dropped IS NOT NULL"
    )
    frame = observations.frame(
        f"SELECT trial, forgotten, learning_time AS score, count(*) AS n FROM ({forgotten}) GROUP BY ALL ORDER BY ALL"
    )
    estimates = {"learning_time": forgotten_are_atypical(frame, "learning time", forgotten)}
    if (scores := observations.c_scores(setting.trials)) is not None:
        each = observations.frame(forgotten).merge(scores, on=["trial", "example"])
        counted = (
            each.assign(score=-each["c_score"]).groupby(["trial", "forgotten", "score"]).size().rename("n").reset_index()
        )
        estimates["c_score"] = forgotten_are_atypical(counted, "1 − C-score", forgotten)
    return estimates


def _a1_settings(observations: Observations) -> list[Setting]:
    """The settings without label noise. Their analyses are of one of the three stages; `_a1` looks the others up."""
    chosen: dict[tuple[str, ...], Setting] = {}
    for stage in ("gradients", "rewind", "retrain"):
        for setting in observations.settings(stage, atypical=True):
            if setting.scope.noise == 0:
                chosen.setdefault(tuple(f"{k}={v}" for k, v in sorted(setting.config.items())), setting)
    return list(chosen.values())


def _a1(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    """Gradients as in G1, rewinding as in W2, retraining as in R1, except that all layers must reach 0.9.

    A store does not say how many examples a set by C-score has. So the intervals of retraining are of the trainings alone.
    """
    estimates: dict[str, Estimate | None] = {}
    for stage in ("gradients", "rewind", "retrain"):
        analysed = next((s for s in observations.settings(stage, atypical=True) if s.config == setting.config), None)
        if analysed is None:
            continue
        kept, said = observations.testable(analysed.trials, atypical=True)
        if not kept:
            sql = f"SELECT * FROM {stage} WHERE {among('analysis', analysed.analyses.values())}"
            estimates[stage] = untestable(said, [], sql)
        elif stage == "gradients":
            estimates[stage] = alike(*gradient_rows(observations, analysed.only(kept)))
        elif stage == "rewind":
            estimates[stage] = rewinding_costs(observations, analysed.only(kept), numbers)[""]
        else:
            frame, sql = retrain_rows(observations, analysed.only(kept))
            estimates[stage] = retrained(frame, None, sql, ALL)
    return estimates


JUDGES = {"E5": Judge(table_1_settings, _e5), "A1": Judge(_a1_settings, _a1)}
