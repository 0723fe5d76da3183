"""E1–E5: where example-tied dropout puts memorization, and what dropping its neurons leaves (paper §6.2).

`before` is mode own on the training set and scaled on test; `after` is mode dropped, without rescaling. A frame has a row
per training: trial, p_gen, p_mem, seeds, and accuracies before_clean, …, after_test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, Parts, saying
from memloc.papers.maini2023.observations import Observations, Sizes, among
from memloc.papers.maini2023.paper import ACCURACIES, TABLE_1_CELL, Numbers, cell
from memloc.papers.maini2023.pooling import accuracy, away, interval_over, over_trainings, reaches
from memloc.papers.maini2023.settings import Setting
from memloc.stages.instrument import LEAST_MEMORIZED
from memloc.statistics import Floats, Interval

DROP = 0.12  # a drop of accuracy on clean and on test examples that still is "minor"
SETS = ("clean", "noisy", "test")


def accuracies(evaluation: pd.DataFrame) -> pd.DataFrame:
    """One row per training, columns `before_clean` … `after_test`; NaN where its mode was not evaluated."""
    by_mode = {
        (mode, rescale): rows.set_index("trial")
        for (mode, rescale), rows in evaluation.groupby(["mode", "rescale"], sort=False)
    }
    frame = pd.DataFrame(index=pd.Index(sorted(set(evaluation["trial"])), name="trial"))
    for when, modes in (("before", ("own", "own", "scaled")), ("after", ("dropped",) * 3)):
        for what, mode in zip(SETS, modes, strict=True):
            rows = by_mode.get((mode, "none"))
            frame[f"{when}_{what}"] = np.nan if rows is None else rows[f"{what}_acc"].astype(np.float64)
    return frame.reset_index()


# --- E1 ---------------------------------------------------------------------------------------------------------------


def before_and_after(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
    """E1's six numbers.

    Before: clean and noisy are at least 0.95, test is at least the paper's number less 0.03 (elsewhere: above chance).
    After: noisy is at most chance, clean and test are at most 0.12 lower than before.
    """
    estimates = {}
    for part in ACCURACIES:
        when, what = part.split(".")
        known = frame.dropna(subset=[f"{when}_{what}", f"before_{what}"])
        estimate = accuracy(list(known[f"{when}_{what}"]), _examples(sizes, what))
        if estimate is None:
            continue
        if part == "after.noisy":
            holds, says = estimate.value <= sizes.chance, f"it must be at most chance, {sizes.chance:.2g}"
        elif when == "after":
            drop = float((known[f"before_{what}"] - known[f"after_{what}"]).mean())
            holds, says = drop <= DROP, f"{drop:.3f} below what it was before; that must be at most {DROP}"
        elif what == "test":
            holds, says = _reaches_or_chance(estimate, paper.get(part), sizes.chance)
        else:
            holds, says = estimate.value >= LEAST_MEMORIZED, f"it must be at least {LEAST_MEMORIZED}"
        reason = f"{what} accuracy {when} dropping; {says}{_beside(paper.get(part), estimate, known)}"
        estimates[part] = Estimate(estimate, holds, reason, list(known["trial"]), sql)
    return estimates


# --- E2, E3 -----------------------------------------------------------------------------------------------------------


def cells(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
    """E2's cells: after dropping, noisy is at most chance, and clean is at least the paper's number less 0.03."""
    estimates = {}
    for _, rows in frame.groupby(["p_gen", "p_mem"]):
        p_gen, p_mem = (float(rows[name].iloc[0]) for name in ("p_gen", "p_mem"))
        for what in ("clean", "noisy"):
            part = f"{cell(p_gen, p_mem)}.{what}"
            if (one := dropped(rows, what, sizes, paper.get(part), sql)) is not None:
                estimates[part] = one
    return estimates


def dropped(rows: pd.DataFrame, what: str, sizes: Sizes, paper: float | None, sql: str) -> Estimate | None:
    """Accuracy after dropping on clean or noisy examples, as in Tables 2 and 3."""
    known = rows.dropna(subset=[f"after_{what}"])
    estimate = accuracy(list(known[f"after_{what}"]), _examples(sizes, what))
    if estimate is None:
        return None
    if what == "noisy":
        holds, says = estimate.value <= sizes.chance, f"it must be at most chance, {sizes.chance:.2g}"
    elif paper is None:
        lost = float((known["before_clean"] - known["after_clean"]).mean())
        holds, says = lost <= DROP, f"{lost:.3f} below what it was before; that must be at most {DROP}"
    else:
        holds, says = _reaches_or_chance(estimate, paper, sizes.chance)
    reason = f"{what} accuracy after dropping; {says}{_beside(paper, estimate, known)}"
    return Estimate(estimate, holds, reason, list(known["trial"]), sql)


def trend(frame: pd.DataFrame, sql: str) -> Estimate | None:
    """E2's trend: clean accuracy after dropping grows with p_gen. Page's test, a row per (seed, p_mem).

    The estimate is the mean over rows of Spearman's coefficient. None with fewer than three p_gen.
    """
    from scipy.stats import page_trend_test, spearmanr

    wide = frame.pivot_table(index=["seed", "data_seed", "p_mem"], columns="p_gen", values="after_clean")
    whole = wide.dropna(axis=0)
    if wide.shape[1] < 3:
        return None
    if len(whole) < 2:
        reason = f"{len(whole)} (seed, p_mem) with all {wide.shape[1]} p_gen; Page's test needs two"
        return Estimate(None, None, reason, list(frame["trial"]), sql)
    values: Floats = whole.to_numpy(dtype=np.float64)
    p = float(page_trend_test(values).pvalue)
    varied = [row for row in values if np.ptp(row) > 0]
    rho = [float(spearmanr(np.arange(len(row)), row).statistic) for row in varied]
    reason = (
        f"Page's test over {len(whole)} (seed, p_mem) and {wide.shape[1]} p_gen: p = {p:.2g}; ours is the mean of Spearman's"
    )
    return Estimate(over_trainings(rho, -1.0, 1.0), p < 0.05, reason, list(frame["trial"]), sql)


def baseline(rows: pd.DataFrame, what: str, sizes: Sizes, paper: float | None, sql: str) -> Estimate | None:
    """E3: a baseline's plain accuracy on clean or noisy training examples, at least 0.95; columns trial, clean, noisy."""
    estimate = accuracy(list(rows[what].dropna()), _examples(sizes, what))
    if estimate is None:
        return None
    reason = f"{what} training accuracy; it must be at least {LEAST_MEMORIZED}{_beside(paper, estimate, rows)}"
    return Estimate(estimate, estimate.value >= LEAST_MEMORIZED, reason, list(rows["trial"]), sql)


# --- E4, E5 -----------------------------------------------------------------------------------------------------------


def generalization(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
    """E4. cost: 1 minus clean accuracy after dropping; at most 0.12. gap: by how much dropping shrinks clean minus test
    accuracy; above 0 (with several trainings, its interval).
    """
    estimates = {}
    left = accuracy(list(frame["after_clean"].dropna()), sizes.clean)
    if left is not None:
        turned = None if left.lo is None or left.hi is None else (1 - left.hi, 1 - left.lo)
        cost = Interval(1 - left.value, *(turned or (None, None)))
        reason = f"clean accuracy lost, from 1; it must be at most {DROP}{_beside(paper.get('cost'), cost, frame)}"
        estimates["cost"] = Estimate(cost, cost.value <= DROP, reason, list(frame["trial"]), sql)
    gaps = {when: frame[f"{when}_clean"] - frame[f"{when}_test"] for when in ("before", "after")}
    narrowed = (gaps["before"] - gaps["after"]).dropna()
    estimate = over_trainings(list(narrowed))
    if estimate is not None:
        least = estimate.value if estimate.lo is None else estimate.lo
        means = ", ".join(f"{when} {gap.mean():.3f}" for when, gap in gaps.items())
        reason = f"clean minus test accuracy is {means}; it must shrink{_beside(paper.get('gap'), estimate, frame)}"
        estimates["gap"] = Estimate(estimate, least > 0, reason, list(frame["trial"]), sql)
    return estimates


def _examples(sizes: Sizes, what: str) -> int | None:
    return {"clean": sizes.clean, "noisy": sizes.noisy}.get(what)


def _reaches_or_chance(estimate: Interval, paper: float | None, chance: float) -> tuple[bool, str]:
    """As `reaches`. Without a number of the paper, the estimate must be above chance."""
    if paper is None:
        return estimate.value > chance, f"it must be above chance, {chance:.2g}"
    return reaches(estimate, paper)


def _beside(paper: float | None, estimate: Interval, rows: pd.DataFrame) -> str:
    return away(paper, estimate.value) + interval_over(estimate, len(rows), "examples")


# --- on a store -------------------------------------------------------------------------------------------------------

TIED = ("example_tied",)


def _tied_settings(observations: Observations) -> list[Setting]:
    return observations.settings("evaluate", dropout=TIED, without=("p_gen", "p_mem"))


def table_1_settings(observations: Observations) -> list[Setting]:
    """The settings, each with the trainings of one (p_gen, p_mem): the paper's cell, or the nearest one that was run."""
    nearest_cells = []
    for setting in _tied_settings(observations):
        cells = {t: (observations.trials[t]["p_gen"], observations.trials[t]["p_mem"]) for t in setting.trials}
        nearest = min(set(cells.values()), key=lambda c: (abs(c[0] - TABLE_1_CELL[0]) + abs(c[1] - TABLE_1_CELL[1]), c))
        one = setting.only([t for t, cell in cells.items() if cell == nearest])
        nearest_cells.append(replace(one, config={**one.config, "p_gen": nearest[0], "p_mem": nearest[1]}))
    return nearest_cells


def tied_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    sql = (
        "SELECT p_gen, p_mem, seed, mode, rescale, clean_acc, noisy_acc, test_acc FROM evaluation JOIN trials USING (trial) "
        f"WHERE rescale = 'none' AND {among('analysis', setting.analyses.values())} ORDER BY ALL"
    )
    frame = accuracies(observations.rows(observations.evaluation, setting))
    for field in ("p_gen", "p_mem", "seed", "data_seed"):
        frame[field] = frame["trial"].map({t: observations.trials[t].get(field) for t in setting.trials})
    return frame, sql


def _memorized(observations: Observations, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """(the rows of trainings that memorized, a note about the others)."""
    kept, said = observations.testable(list(frame["trial"]))
    return frame[frame["trial"].isin(kept)], said


def _e1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = tied_rows(observations, setting)
    sizes = observations.sizes[setting.trials[0]]
    every = before_and_after(frame, sizes, numbers, sql)
    kept, said = _memorized(observations, frame)
    tested = before_and_after(kept, sizes, numbers, sql)
    untested = Estimate(None, None, said, [], sql)
    after = {part: saying(tested.get(part, untested), said) for part in every if part.startswith("after")}
    return {**every, **after}


def _e2(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    frame, sql = tied_rows(observations, setting)
    sizes = observations.sizes[setting.trials[0]]
    estimates: dict[str, Estimate | None] = {}
    for _, rows in frame.groupby(["p_gen", "p_mem"]):
        kept, said = _memorized(observations, rows)
        tested, untested = cells(kept, sizes, numbers, sql), Estimate(None, None, said, [], sql)
        estimates |= {part: saying(tested.get(part, untested), said) for part in cells(rows, sizes, {}, sql)}
    estimates["trend"] = trend(_memorized(observations, frame)[0], sql)
    return estimates


def _e3_settings(observations: Observations) -> list[Setting]:
    return observations.settings(
        "evaluate", dropout=("standard", "sparse", *TIED), without=("dropout", "keep", "unit", "p_gen", "p_mem")
    )


def _e3(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    """E3 by dropout and kept share, each in its usual unit. Example-tied dropout has the paper's (0.4, 0.2)."""
    estimates: dict[str, Estimate | None] = {}
    rows: dict[str, list[str]] = {}
    for trial in setting.trials:
        config = observations.trials[trial]
        if config["dropout"] == "example_tied":
            if (config["p_gen"], config["p_mem"]) == (0.4, 0.2):
                rows.setdefault("example_tied", []).append(trial)
        elif config.get("unit") == {"standard": "element", "sparse": "weight"}[config["dropout"]]:
            rows.setdefault(f"{config['dropout']}.keep{config['keep']:g}", []).append(trial)
    for row, trials in rows.items():
        mine, sizes = setting.only(trials), observations.sizes[trials[0]]
        if row == "example_tied":
            frame, sql = tied_rows(observations, mine)
            kept, said = _memorized(observations, frame)
            for what in ("clean", "noisy"):
                part = f"{row}.{what}"
                untested = Estimate(None, None, said, [], sql)
                estimates[part] = dropped(kept, what, sizes, numbers.get(part), sql) or untested
            continue
        sql = f"SELECT * FROM evaluation WHERE mode = 'plain' AND {among('analysis', mine.analyses.values())}"
        plain = observations.rows(observations.evaluation, mine)
        plain = plain[plain["mode"] == "plain"].rename(columns={"clean_acc": "clean", "noisy_acc": "noisy"})
        for what in ("clean", "noisy"):
            part = f"{row}.{what}"
            estimates[part] = baseline(plain, what, sizes, numbers.get(part), sql)
    return estimates


def _e4(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = tied_rows(observations, setting)
    return generalization(frame, observations.sizes[setting.trials[0]], numbers, sql)


JUDGES = {
    "E1": Judge(table_1_settings, _e1),
    "E2": Judge(_tied_settings, _e2),
    "E3": Judge(_e3_settings, _e3),
    "E4": Judge(table_1_settings, _e4),
}
