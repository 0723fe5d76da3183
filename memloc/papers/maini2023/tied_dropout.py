"""E1–E4: where example-tied dropout puts memorization, and what dropping its neurons leaves (paper §6.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from memloc.papers.maini2023.deciding import decide_rank, decided, listed, over, untestable
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, Parts, saying
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import ACCURACIES, TABLE_1_CELL, Numbers, cell
from memloc.papers.maini2023.reaching import SLACK, away, reaching
from memloc.papers.maini2023.settings import Setting
from memloc.papers.maini2023.tied_accuracies import SETS, TiedRows, accuracies, share
from memloc.stages.instrument import LEAST_MEMORIZED
from memloc.statistics import Correlation, Interval, in_brackets
from memloc.statistics.regions import Region, decide
from memloc.statistics.trainings import OverTrainings, pooled

MEMORIZES = Region(lo=LEAST_MEMORIZED)
MINOR = Region(hi=0.12)  # a drop of accuracy on clean or on test examples
FORGOTTEN = Region(hi=0.03)  # residual memorization
NARROWS = Region(lo=0.0, open_lo=True)  # the generalization gap

# --- accuracies -------------------------------------------------------------------------------------------------------


class Dropped(NamedTuple):
    """An accuracy after dropping, and the quantity that decides on it, or why nothing does."""

    shown: OverTrainings
    by: OverTrainings | str
    trials: list[str]


def dropped(rows: TiedRows, what: str) -> Dropped | None:
    """None without trainings that have the accuracy before and after dropping."""
    known = rows.known(f"after_{what}", f"before_{what}")
    shown, lost = known.share(f"after_{what}"), known.lost(what)
    if shown is None or lost is None:
        return None
    return Dropped(shown, known.residual() if what == "noisy" else lost, known.trials)


def family(cells: Sequence[Dropped]) -> list[Dropped]:
    """The same, of two trainings with the spread of all cells together (`pooled`)."""
    shown = pooled([one.shown for one in cells])
    deciding = iter(pooled(by) if (by := [one.by for one in cells if not isinstance(one.by, str)]) else [])
    return [
        Dropped(mine, one.by if isinstance(one.by, str) else next(deciding), one.trials)
        for mine, one in zip(shown, cells, strict=True)
    ]


def after(one: Dropped, what: str, paper: float | None, sql: str) -> Estimate:
    """Noisy examples have at most 0.03 of residual memorization; clean and test accuracy lose at most 0.12."""
    compared = f"{what} accuracy after dropping{away(paper, one.shown.value)}"
    if isinstance(one.by, str):
        return Estimate(one.shown.printed, None, f"{compared}; {one.by}", one.trials, sql)
    name, region = ("residual memorization", FORGOTTEN) if what == "noisy" else ("its loss by dropping", MINOR)
    reason = f"{compared}; {name} is {in_brackets(one.by.printed, 3)}; it must be {region}; {over(one.by)}"
    return Estimate(one.shown.printed, decide(one.by.deciding, region, one.by.each), reason, one.trials, sql)


def before(rows: TiedRows, what: str, paper: float | None, sql: str) -> Estimate | None:
    """Clean and noisy accuracy are at least 0.95; test accuracy reaches the paper's, elsewhere it is above chance."""
    known = rows.known(f"before_{what}")
    quantity = known.share(f"before_{what}")
    if quantity is None:
        return None
    guessing = Region(lo=rows.sizes.chance, open_lo=True)
    region = MEMORIZES if what != "test" else guessing if paper is None else reaching(paper)
    compared = f"{what} accuracy before dropping{away(paper, quantity.value)}"
    return decided(quantity, region, compared, known.trials, sql)


# --- Tables 1, 2, 3 ---------------------------------------------------------------------------------------------------


def before_and_after(
    rows: TiedRows, memorized: TiedRows, paper: Mapping[str, float | None], sql: str
) -> dict[str, Estimate | None]:
    """E1's six numbers. memorized: the trainings on which those after dropping are judged."""
    estimates: dict[str, Estimate | None] = {}
    for part in ACCURACIES:
        when, what = part.split(".")
        if when == "before":
            estimates[part] = before(rows, what, paper.get(part), sql)
        elif dropped(rows, what) is not None:
            one = dropped(memorized, what)
            estimates[part] = after(one, what, paper.get(part), sql) if one else untestable("", [], sql)
    return estimates


def table_2(cells: Mapping[str, TiedRows], what: str, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
    """E2's cells, and E3's example-tied row: noisy as in `after`; clean reaches the paper's number, elsewhere as in `after`.

    cells: {its name in ids: trainings that memorized}.
    """
    there = {name: one for name, rows in cells.items() if (one := dropped(rows, what)) is not None}
    estimates = {}
    for name, one in zip(there, family(list(there.values())) if there else [], strict=True):
        number = paper.get(f"{name}.{what}")
        if what == "clean" and number is not None:
            compared = f"clean accuracy after dropping{away(number, one.shown.value)}"
            estimates[f"{name}.{what}"] = decided(one.shown, reaching(number), compared, one.trials, sql)
        else:
            estimates[f"{name}.{what}"] = after(one, what, number, sql)
    return estimates


def trend(frame: pd.DataFrame, sql: str) -> Estimate | None:
    """E2's trend: clean accuracy after dropping grows with p_gen. Page's test, a row per seed (means over p_mem).

    The estimate is the mean over seeds of Spearman's coefficient. None with fewer than three p_gen.
    """
    from scipy.stats import page_trend_test, spearmanr  # takes half a second; checking a sweep file does not need it

    trials = list(frame["trial"])
    wide = frame.pivot_table(index=["seed", "data_seed", "p_mem"], columns="p_gen", values="after_clean")
    if wide.shape[1] < 3:
        return None
    rows = wide.dropna(axis=0).groupby(level=["seed", "data_seed"]).mean().to_numpy(dtype=np.float64)
    if not len(rows):
        return untestable(f"no seed has all {wide.shape[1]} p_gen", trials, sql)
    order = np.arange(wide.shape[1])
    each = [float(spearmanr(order, row).statistic) if np.ptp(row) > 0 else 0.0 for row in rows]
    p = float(page_trend_test(rows).pvalue) if len(rows) > 1 else 1.0
    estimate = Interval(float(np.mean(each)), None, None)
    page = f"Page's test: p = {p:.2g}, which must be below 0.05; " if len(rows) > 1 else ""
    reason = f"mean over seeds of Spearman's coefficient of clean accuracy and p_gen; {page}each seed's: {listed(each)}"
    return Estimate(estimate, decide_rank(Correlation(estimate, p), each, len(rows)), reason, trials, sql)


def baselines(
    plain: Mapping[str, tuple[list[str], OverTrainings]], paper: Mapping[str, float | None], sql: str
) -> dict[str, Estimate]:
    """E3: a baseline's plain accuracy on clean or noisy training examples, at least 0.95. plain: {part: trainings, it}."""
    quantities = pooled([quantity for _, quantity in plain.values()]) if plain else []
    return {
        part: decided(quantity, MEMORIZES, f"training accuracy{away(paper.get(part), quantity.value)}", trials, sql)
        for (part, (trials, _)), quantity in zip(plain.items(), quantities, strict=True)
    }


# --- E4 ---------------------------------------------------------------------------------------------------------------


def generalization(rows: TiedRows, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
    """E4. cost: 1 minus clean accuracy after dropping; at most the paper's plus 0.03, elsewhere at most 0.12.

    gap: by how much dropping narrows the difference of clean and test accuracy; above 0.
    """
    estimates = {}
    known = rows.known("after_clean")
    if (cost := known.lost_from_1()) is not None:
        number = paper.get("cost")
        region = MINOR if number is None else Region(hi=round(number + SLACK, 9))
        compared = f"clean accuracy lost, from 1{away(number, cost.value)}"
        estimates["cost"] = decided(cost, region, compared, known.trials, sql)
    if (narrowed := rows.narrowed()) is not None:
        gaps = {when: rows.frame[f"{when}_clean"] - rows.frame[f"{when}_test"] for when in ("before", "after")}
        means = " and ".join(f"{gap.mean():.3f} {when}" for when, gap in gaps.items())
        compared = (
            f"how much smaller dropping makes clean minus test accuracy, which is {means}"
            f"{away(paper.get('gap'), narrowed.value)}"
        )
        estimates["gap"] = decided(narrowed, NARROWS, compared, rows.trials, sql)
    return estimates


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


def tied_rows(observations: Observations, setting: Setting) -> tuple[TiedRows, str]:
    sql = (
        "SELECT p_gen, p_mem, seed, mode, rescale, clean_acc, noisy_acc, test_acc, noisy_true_acc "
        f"FROM evaluation JOIN trials USING (trial) WHERE rescale = 'none' "
        f"AND {among('analysis', setting.analyses.values())} ORDER BY ALL"
    )
    frame = accuracies(observations.rows(observations.evaluation, setting))
    for field in ("p_gen", "p_mem", "seed", "data_seed"):
        frame[field] = frame["trial"].map({t: observations.trials[t].get(field) for t in setting.trials})
    wrong = str(setting.config.get("wrong", "uniform"))
    test = observations.test_size(setting.config["dataset"])
    return TiedRows(frame, observations.sizes[setting.trials[0]], test, wrong), sql


def _memorized(observations: Observations, rows: TiedRows) -> tuple[TiedRows, str]:
    """(those that memorized, a note about the others)."""
    kept, said = observations.testable(rows.trials)
    return rows.only(kept), said


def _e1(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    rows, sql = tied_rows(observations, setting)
    kept, said = _memorized(observations, rows)
    estimates = before_and_after(rows, kept, numbers, sql)
    return {k: _of_kept(one, said, sql) if k.startswith("after") else one for k, one in estimates.items()}


def _of_kept(one: Estimate | None, said: str, sql: str) -> Estimate | None:
    """The estimate, with a note about trainings that did not memorize; the note alone where there are no others."""
    return one and (saying(one, said) if one.trials else untestable(said or "no accuracy after dropping", [], sql))


def _e2(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    rows, sql = tied_rows(observations, setting)
    cells, notes = {}, {}
    for _, frame in rows.frame.groupby(["p_gen", "p_mem"]):
        name = cell(*(float(frame[field].iloc[0]) for field in ("p_gen", "p_mem")))
        cells[name], notes[name] = _memorized(observations, replace(rows, frame=frame))
    return {**_table_2(cells, notes, numbers, sql), "trend": trend(_memorized(observations, rows)[0].frame, sql)}


def _table_2(cells: Mapping[str, TiedRows], notes: Mapping[str, str], numbers: Numbers, sql: str) -> Estimates:
    """The cells' numbers. notes: {cell: about its trainings that did not memorize}."""
    estimates = {k: v for what in SETS[:2] for k, v in table_2(cells, what, numbers, sql).items()}
    untested = {
        f"{name}.{what}": untestable(notes[name], [], sql) for name in cells if cells[name].frame.empty for what in SETS[:2]
    }
    return {**{k: saying(one, notes[k.rpartition(".")[0]]) for k, one in estimates.items()}, **untested}


def _e3_settings(observations: Observations) -> list[Setting]:
    return observations.settings(
        "evaluate", dropout=("standard", "sparse", *TIED), without=("dropout", "keep", "unit", "p_gen", "p_mem")
    )


def _e3(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    """E3 by dropout and kept share, each in its usual unit. Example-tied dropout has the paper's (0.4, 0.2)."""
    rows: dict[str, list[str]] = {}
    for trial in setting.trials:
        config = observations.trials[trial]
        if config["dropout"] == "example_tied":
            if (config["p_gen"], config["p_mem"]) == (0.4, 0.2):
                rows.setdefault("example_tied", []).append(trial)
        elif config.get("unit") == {"standard": "element", "sparse": "weight"}[config["dropout"]]:
            rows.setdefault(f"{config['dropout']}.keep{config['keep']:g}", []).append(trial)
    estimates: dict[str, Estimate | None] = {}
    if tied := rows.pop("example_tied", []):
        own, sql = tied_rows(observations, setting.only(tied))
        kept, said = _memorized(observations, own)
        estimates |= _table_2({"example_tied": kept}, {"example_tied": said}, numbers, sql)
    plain = observations.rows(observations.evaluation, setting)
    plain = observations.with_data_seed(plain[plain["mode"] == "plain"])
    sql = f"SELECT * FROM evaluation WHERE mode = 'plain' AND {among('analysis', setting.analyses.values())}"
    for what in SETS[:2]:
        shares = {}
        for row, trials in rows.items():
            known = plain[plain["trial"].isin(trials)].dropna(subset=[f"{what}_acc"])
            if len(known):
                size = getattr(observations.sizes[trials[0]], what) * known["data_seed"].nunique(dropna=False)
                shares[f"{row}.{what}"] = list(known["trial"]), share(list(known[f"{what}_acc"]), size)
        estimates |= baselines(shares, numbers, sql)
    return estimates


def _e4(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    rows, sql = tied_rows(observations, setting)
    return generalization(rows, numbers, sql)


JUDGES = {
    "E1": Judge(table_1_settings, _e1),
    "E2": Judge(_tied_settings, _e2),
    "E3": Judge(_e3_settings, _e3),
    "E4": Judge(table_1_settings, _e4),
}
