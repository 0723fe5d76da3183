"""E5 and A1: clean examples that dropping forgets are atypical (paper §6.2); atypical examples behave as mislabeled ones
(paper §7, B.2).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from memloc.papers.maini2023.deciding import decided, untestable
from memloc.papers.maini2023.gradients import alike, gradient_rows
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge
from memloc.papers.maini2023.layers import ALL, retrain_rows, retrained, rewinding_costs
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.settings import Setting
from memloc.papers.maini2023.tied_dropout import table_1_settings
from memloc.statistics.quantities import mean_auc, training_table
from memloc.statistics.regions import Region

GUESSING = Region(lo=0.5, open_lo=True)


def forgotten_are_atypical(frame: pd.DataFrame, what: str, sql: str) -> Estimate:
    """E5: clean examples that dropping forgets are more atypical than those that it keeps: the AUC is above 0.5.

    frame: columns trial, data_seed, example, forgotten, score (higher: more atypical).
    """
    both = frame[frame.groupby("trial")["forgotten"].transform("nunique") == 2]
    if both.empty:
        return untestable("dropping forgets no clean example, or all of them", sorted(set(frame["trial"])), sql)
    units = both.groupby(["data_seed", "example", "forgotten"], dropna=False).ngroup().to_numpy()
    scores, trials = both["score"].to_numpy(dtype=np.float64), both["trial"].to_numpy(dtype=str)
    table, rows = training_table(scores, trials, units)
    quantity = mean_auc(table, both["forgotten"].to_numpy(dtype=bool)[rows])
    if quantity is None:
        return untestable("a score is not a number", sorted(set(trials)), sql)
    compared = (
        f"AUC of {what} for clean examples that dropping forgets ({both['forgotten'].sum() / quantity.k:.0f} a training) "
        "against those it keeps"
    )
    return decided(quantity, GUESSING, compared, sorted(set(trials)), sql)


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
    frame = observations.with_data_seed(observations.frame(f"{forgotten} ORDER BY trial, example"))
    by_time = frame.assign(score=frame["learning_time"])
    estimates = {"learning_time": forgotten_are_atypical(by_time, "learning time", forgotten)}
    if (scores := observations.c_scores(setting.trials)) is not None:
        by_c_score = frame.merge(scores, on=["trial", "example"])
        by_c_score = by_c_score.assign(score=-by_c_score["c_score"])
        estimates["c_score"] = forgotten_are_atypical(by_c_score, "1 − C-score", forgotten)
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
