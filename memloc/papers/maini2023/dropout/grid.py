"""E2, Table 2: dropping the memorization neurons, by p_gen and p_mem (paper §6.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from memloc.papers.charts import Table
from memloc.papers.claims import Claim, Estimates, here, saying
from memloc.papers.deciding import decide_rank, decided, listed, untestable
from memloc.papers.exhibits import Drawn, Evidence, Exhibit, Wanted, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.maini2023.dropout.accuracies import SETS, TiedRows, memorized, rows_of, tied_rows, tied_settings
from memloc.papers.maini2023.dropout.before_after import after, dropped, family, in_per_cent, paper_in_per_cent
from memloc.papers.observations import Observations
from memloc.papers.reaching import away, reaching
from memloc.papers.scope import Numbers
from memloc.papers.settings import Setting
from memloc.statistics import Correlation, Interval

P_GEN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
TABLE_2 = {  # p_mem: (clean, noisy) by P_GEN
    0.1: ((0.842, 0.029), (0.869, 0.028), (0.871, 0.029), (0.899, 0.031), (0.920, 0.039), (0.930, 0.049)),
    0.2: ((0.869, 0.028), (0.882, 0.030), (0.908, 0.031), (0.917, 0.034), (0.936, 0.047), (0.950, 0.069)),
}


def cell(p_gen: float, p_mem: float) -> str:
    """The name of a cell of Table 2 in ids."""
    return f"p_gen{p_gen:g}.p_mem{p_mem:g}"


CELLS: Mapping[str, Mapping[str, float]] = {cell(g, m): {"p_gen": g, "p_mem": m} for m in TABLE_2 for g in P_GEN}
NUMBERS: Numbers = {
    f"{cell(g, m)}.{what}": number
    for m, row in TABLE_2.items()
    for g, pair in zip(P_GEN, row, strict=True)
    for what, number in zip(SETS[:2], pair, strict=True)
}


def _of_set(cells: Mapping[str, TiedRows], what: str, paper: Mapping[str, float | None], sql: str) -> dict[str, Estimate]:
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


def _e2(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    rows, sql = tied_rows(observations, setting)
    cells, notes = {}, {}
    for _, frame in rows.frame.groupby(["p_gen", "p_mem"]):
        name = cell(*(float(frame[field].iloc[0]) for field in ("p_gen", "p_mem")))
        cells[name], notes[name] = memorized(observations, replace(rows, frame=frame))
    return {**of_cells(cells, notes, numbers, sql), "trend": trend(memorized(observations, rows)[0].frame, sql)}


def of_cells(cells: Mapping[str, TiedRows], notes: Mapping[str, str], numbers: Numbers, sql: str) -> Estimates:
    """The cells' numbers. notes: {cell: about its trainings that did not memorize}."""
    estimates = {k: v for what in SETS[:2] for k, v in _of_set(cells, what, numbers, sql).items()}
    untested = {
        f"{name}.{what}": untestable(notes[name], [], sql) for name in cells if cells[name].frame.empty for what in SETS[:2]
    }
    return {**{k: saying(one, notes[k.rpartition(".")[0]]) for k, one in estimates.items()}, **untested}


E2 = Claim(
    "E2",
    "§6.2, Table 2",
    "so it does for all p_gen and p_mem, and clean accuracy grows with p_gen",
    here({**NUMBERS, "trend": None}),
    "evaluate",
    tied_settings,
    _e2,
    memorizing=False,
    floats=True,
    trainings=lambda part: {"dropout": "example_tied", **CELLS.get(part.rpartition(".")[0], {"p_gen": P_GEN})},
)


def _table_2(evidence: Evidence, setting: Setting, label: str) -> Drawn:
    """The cells that were run, and the paper's. Nothing with a single cell."""
    configs = [evidence.observations.trials[t] for t in setting.trials]
    p_gens, p_mems = (sorted({config[field] for config in configs}) for field in ("p_gen", "p_mem"))
    numbers = evidence.numbers("E2", setting)
    if len(p_gens) * len(p_mems) < 2 or not any(j.interval for j in numbers.values()):
        return []
    rows = []
    for p_mem in p_mems:
        for what in SETS[:2]:
            parts = [f"{cell(p_gen, p_mem)}.{what}" for p_gen in p_gens]
            rows.append([f"p_mem {p_mem:g}, {what}", *(in_per_cent(numbers.get(part)) for part in parts)])
            if any(part in NUMBERS for part in parts):
                papers = [paper_in_per_cent(NUMBERS.get(part)) for part in parts]
                rows.append([f"p_mem {p_mem:g}, {what}, in the paper", *papers])
    if trend := numbers.get("trend"):
        name = f"clean accuracy grows with p_gen: {trend.verdict_in_words}"
        rows.append([name, trend.printed(2), *[""] * (len(p_gens) - 1)])
    return [Table(label, ["accuracy, %", *(f"p_gen {p_gen:g}" for p_gen in p_gens)], rows, rows_of(setting))]


TABLE = Exhibit(
    "table2",
    "Table 2",
    "Clean and noisy accuracy after dropping, by p_gen and p_mem",
    "§6.2",
    "The paper finds the same over the whole grid. More p_gen leaves more of both accuracies.",
    "memloc sweep etd-grid --only block=tied",
    tied_settings,
    Wanted(("cifar10",), ("resnet9",), (0.1,)),
    per_setting(_table_2),
)
