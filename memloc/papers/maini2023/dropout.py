"""E1–E5: where example-tied dropout puts memorization, and what dropping its neurons leaves (paper §6.2).

`before` is mode own on the training set and scaled on test; `after` is mode dropped, without rescaling. A frame has a row
per training: trial, p_gen, p_mem, seeds, and accuracies before_clean, …, after_test.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from memloc.papers.maini2023.estimates import accuracy, away, mean_auc, of_which, over_trainings, reaches
from memloc.papers.maini2023.evidence import Sizes
from memloc.papers.maini2023.judgement import Found
from memloc.papers.maini2023.paper import ACCURACIES, LEAST_MEMORIZED, cell
from memloc.statistics import Floats, Interval, auc_interval

DROP = 0.12  # of accuracy on clean and on test examples, that still is "minor"
SETS = ("clean", "noisy", "test")


def accuracies(evaluation: pd.DataFrame) -> pd.DataFrame:
    """One row per training, columns `before_clean` … `after_test`; NaN where its mode was not evaluated."""
    of = {
        (mode, rescale): rows.set_index("trial")
        for (mode, rescale), rows in evaluation.groupby(["mode", "rescale"], sort=False)
    }
    frame = pd.DataFrame(index=pd.Index(sorted(set(evaluation["trial"])), name="trial"))
    for when, modes in (("before", ("own", "own", "scaled")), ("after", ("dropped",) * 3)):
        for what, mode in zip(SETS, modes, strict=True):
            rows = of.get((mode, "none"))
            frame[f"{when}_{what}"] = np.nan if rows is None else rows[f"{what}_acc"].astype(np.float64)
    return frame.reset_index()


# --- E1 ---------------------------------------------------------------------------------------------------------------


def before_and_after(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Found]:
    """E1's six numbers.

    Before: clean and noisy at least 0.95, test within 0.03 of the paper's number (elsewhere: above chance). After: noisy at
    most chance, clean and test at most 0.12 below what they were.
    """
    found = {}
    for part in ACCURACIES:
        when, what = part.split(".")
        of = frame.dropna(subset=[f"{when}_{what}", f"before_{what}"])
        estimate = accuracy(list(of[f"{when}_{what}"]), _examples(sizes, what))
        if estimate is None:
            continue
        if part == "after.noisy":
            holds, says = estimate.value <= sizes.chance, f"to be at most chance, {sizes.chance:.2g}"
        elif when == "after":
            drop = float((of[f"before_{what}"] - of[f"after_{what}"]).mean())
            holds, says = drop <= DROP, f"{drop:.3f} below what it was before, to be at most {DROP}"
        elif what == "test":
            holds, says = _reaches_or_chance(estimate, paper.get(part), sizes.chance)
        else:
            holds, says = estimate.value >= LEAST_MEMORIZED, f"to be at least {LEAST_MEMORIZED}"
        reason = f"{what} accuracy {when} dropping, {says}{_beside(paper.get(part), estimate, of)}"
        found[part] = Found(estimate, holds, reason, list(of["trial"]), sql)
    return found


# --- E2, E3 -----------------------------------------------------------------------------------------------------------


def cells(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Found]:
    """E2's cells: noisy after dropping at most chance; clean within 0.03 below the paper's number, or above it."""
    found = {}
    for _, rows in frame.groupby(["p_gen", "p_mem"]):
        p_gen, p_mem = (float(rows[name].iloc[0]) for name in ("p_gen", "p_mem"))
        for what in ("clean", "noisy"):
            part = f"{cell(p_gen, p_mem)}.{what}"
            if (one := dropped(rows, what, sizes, paper.get(part), sql)) is not None:
                found[part] = one
    return found


def dropped(rows: pd.DataFrame, what: str, sizes: Sizes, paper: float | None, sql: str) -> Found | None:
    """Accuracy after dropping on clean or noisy examples, as Tables 2 and 3 have it."""
    of = rows.dropna(subset=[f"after_{what}"])
    estimate = accuracy(list(of[f"after_{what}"]), _examples(sizes, what))
    if estimate is None:
        return None
    if what == "noisy":
        holds, says = estimate.value <= sizes.chance, f"to be at most chance, {sizes.chance:.2g}"
    elif paper is None:
        lost = float((of["before_clean"] - of["after_clean"]).mean())
        holds, says = lost <= DROP, f"{lost:.3f} below what it was before, to be at most {DROP}"
    else:
        holds, says = _reaches_or_chance(estimate, paper, sizes.chance)
    reason = f"{what} accuracy after dropping, {says}{_beside(paper, estimate, of)}"
    return Found(estimate, holds, reason, list(of["trial"]), sql)


def trend(frame: pd.DataFrame, sql: str) -> Found | None:
    """E2's trend: clean accuracy after dropping grows with p_gen. Page's test, a row per (seed, p_mem).

    Ours: the mean over rows of Spearman's coefficient. None with fewer than three p_gen.
    """
    from scipy.stats import page_trend_test, spearmanr

    wide = frame.pivot_table(index=["seed", "data_seed", "p_mem"], columns="p_gen", values="after_clean")
    whole = wide.dropna(axis=0)
    if wide.shape[1] < 3:
        return None
    if len(whole) < 2:
        reason = f"{len(whole)} (seed, p_mem) with all {wide.shape[1]} p_gen; Page's test needs two"
        return Found(None, None, reason, list(frame["trial"]), sql)
    values: Floats = whole.to_numpy(dtype=np.float64)
    p = float(page_trend_test(values).pvalue)
    varied = [row for row in values if np.ptp(row) > 0]
    rho = [float(spearmanr(np.arange(len(row)), row).statistic) for row in varied]
    reason = (
        f"Page's test over {len(whole)} (seed, p_mem) and {wide.shape[1]} p_gen: p = {p:.2g}; ours is the mean of Spearman's"
    )
    return Found(over_trainings(rho, -1.0, 1.0), p < 0.05, reason, list(frame["trial"]), sql)


def baseline(rows: pd.DataFrame, what: str, sizes: Sizes, paper: float | None, sql: str) -> Found | None:
    """E3: a baseline's plain accuracy on clean or noisy training examples, at least 0.95; columns trial, clean, noisy."""
    estimate = accuracy(list(rows[what].dropna()), _examples(sizes, what))
    if estimate is None:
        return None
    reason = f"{what} training accuracy, to be at least {LEAST_MEMORIZED}{_beside(paper, estimate, rows)}"
    return Found(estimate, estimate.value >= LEAST_MEMORIZED, reason, list(rows["trial"]), sql)


# --- E4, E5 -----------------------------------------------------------------------------------------------------------


def generalization(frame: pd.DataFrame, sizes: Sizes, paper: Mapping[str, float | None], sql: str) -> dict[str, Found]:
    """E4. cost: what clean accuracy after dropping lacks to 1, at most 0.12. gap: by how much dropping shrinks clean minus
    test accuracy, above 0 (its interval, over several trainings).
    """
    found = {}
    left = accuracy(list(frame["after_clean"].dropna()), sizes.clean)
    if left is not None:
        turned = None if left.lo is None or left.hi is None else (1 - left.hi, 1 - left.lo)
        cost = Interval(1 - left.value, *(turned or (None, None)))
        reason = f"clean accuracy lost, from 1, to be at most {DROP}{_beside(paper.get('cost'), cost, frame)}"
        found["cost"] = Found(cost, cost.value <= DROP, reason, list(frame["trial"]), sql)
    gaps = {when: frame[f"{when}_clean"] - frame[f"{when}_test"] for when in ("before", "after")}
    narrowed = (gaps["before"] - gaps["after"]).dropna()
    estimate = over_trainings(list(narrowed))
    if estimate is not None:
        least = estimate.value if estimate.lo is None else estimate.lo
        means = ", ".join(f"{when} {gap.mean():.3f}" for when, gap in gaps.items())
        reason = f"clean minus test accuracy is {means}: to shrink{_beside(paper.get('gap'), estimate, frame)}"
        found["gap"] = Found(estimate, least > 0, reason, list(frame["trial"]), sql)
    return found


def atypical(histogram: pd.DataFrame, what: str, sql: str) -> Found | None:
    """E5: clean examples that dropping forgets have a higher score of being atypical than those it keeps; AUC above 0.5.

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
        return Found(None, None, "dropping forgets no clean example, or all of them", sorted(set(histogram["trial"])), sql)
    reason = (
        f"AUC of {what} for clean examples that dropping forgets ({forgotten / len(trials):.0f} a training) against those "
        f"it keeps, its interval to be above 0.5"
    )
    return Found(estimate, estimate.lo is not None and estimate.lo > 0.5, reason, trials, sql)


def _examples(sizes: Sizes, what: str) -> int | None:
    return {"clean": sizes.clean, "noisy": sizes.noisy}.get(what)


def _reaches_or_chance(estimate: Interval, paper: float | None, chance: float) -> tuple[bool, str]:
    """As `reaches`; without a number of the paper, whether it is above chance."""
    if paper is None:
        return estimate.value > chance, f"to be above chance, {chance:.2g}"
    return reaches(estimate, paper)


def _beside(paper: float | None, estimate: Interval, rows: pd.DataFrame) -> str:
    return away(paper, estimate.value) + of_which(estimate, len(rows), "examples")
