"""E2, E3, Tables 2 and 3: dropping by p_gen and p_mem, and other dropouts, which memorize all the same (paper §6.2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed
from memloc.analysis.settings import SEEDS, Setting, percent
from memloc.counts import counted
from memloc.papers.charts import Table
from memloc.papers.claims import Case, Claim, Estimates, Numbers, here
from memloc.papers.deciding import Estimate, away, decided, listed, ranked, reaching, saying, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.maini2023.dropout.accuracies import SETS, TiedRows, memorized, sql_of, tied_rows, tied_settings
from memloc.papers.maini2023.dropout.before_after import (
    MEMORIZES,
    Dropped,
    after,
    after_dropping,
    in_per_cent,
    paper_in_per_cent,
)
from memloc.statistics import page_trend
from memloc.statistics.quantities import share
from memloc.statistics.trainings import pooled

P_GEN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
TABLE_2 = {  # p_mem: (clean, noisy) by P_GEN
    0.1: ((0.842, 0.029), (0.869, 0.028), (0.871, 0.029), (0.899, 0.031), (0.920, 0.039), (0.930, 0.049)),
    0.2: ((0.869, 0.028), (0.882, 0.030), (0.908, 0.031), (0.917, 0.034), (0.936, 0.047), (0.950, 0.069)),
}
TABLE_3 = {  # clean, noisy; both readings of the dropout's 0.4: as the share that is kept, and as the share that is dropped
    **{f"standard.keep{keep}": (1.0, 0.995) for keep in (0.4, 0.6)},
    **{f"sparse.keep{keep}": (1.0, 0.998) for keep in (0.4, 0.6)},
    "example_tied": (0.908, 0.031),
}
METHODS = {"standard": "standard dropout", "sparse": "sparse network"}
TIED_CELL = {"p_gen": 0.4, "p_mem": 0.2}  # of Table 3


def cell(p_gen: float, p_mem: float) -> str:
    """The name of a cell of Table 2 in ids."""
    return f"p_gen{p_gen:g}.p_mem{p_mem:g}"


CELLS: Mapping[str, Mapping[str, float]] = {cell(g, m): {"p_gen": g, "p_mem": m} for m in TABLE_2 for g in P_GEN}


def _numbers(rows: Mapping[str, tuple[float, float]]) -> Numbers:
    return {f"{row}.{what}": n for row, pair in rows.items() for what, n in zip(SETS[:2], pair, strict=True)}


OF_TABLE_2 = _numbers(dict(zip(CELLS, (pair for row in TABLE_2.values() for pair in row), strict=True)))
OF_TABLE_3 = _numbers(TABLE_3)


def _estimates_of_cell(case: Case, name: str) -> dict[str, Estimate]:
    """Noisy accuracies as in `after`; clean ones reach the paper's number, elsewhere as in `after`.

    case: the trainings of one (p_gen, p_mem). name: in ids.
    """
    kept, said = case.observations.testable(case.trials)
    if not kept:
        return {f"{name}.{what}": untestable(said, [], sql_of(case.setting)) for what in SETS[:2]}
    there = after_dropping(case)
    numbers = {f"{name}.{what}": there[what] for what in SETS[:2] if what in there}
    return {number: saying(_of_cell(one, case.numbers.get(number)), said) for number, one in numbers.items()}


def _of_cell(one: Dropped, paper: float | None) -> Estimate:
    if one.what == "noisy" or paper is None:
        return after(one, paper)
    compared = f"clean accuracy after dropping{away(paper, one.shown.value)}"
    return decided(one.shown, reaching(paper), compared, one.rows.trials, one.rows.sql)


def _e2(case: Case) -> Estimates:
    frame = tied_rows(case).frame
    estimates: dict[str, Estimate | None] = {}
    for (p_gen, p_mem), rows in frame.groupby(["p_gen", "p_mem"]):
        estimates |= _estimates_of_cell(case.only(list(rows["trial"])), cell(float(str(p_gen)), float(str(p_mem))))
    kept, said = memorized(case)
    several = frame["p_gen"].nunique() >= 3
    nothing = untestable(said, [], sql_of(case.setting)) if several and said else None
    return {**estimates, "trend": _trend(kept) or nothing}


def _trend(memorizing: TiedRows) -> Estimate | None:
    """Clean accuracy after dropping grows with p_gen. Page's test, a row per seed (means over p_mem).

    The estimate is the mean over seeds of Spearman's coefficient. None with fewer than three p_gen.
    """
    frame = memorizing.frame
    wide = frame.pivot_table(index=[*SEEDS, "p_mem"], columns="p_gen", values="after_clean")
    if wide.shape[1] < 3:
        return None
    everywhere = wide.dropna(axis=1)  # p_gen that all seeds have
    table = everywhere if everywhere.shape[1] >= 3 else wide.dropna(axis=0)
    rows = table.groupby(level=list(SEEDS)).mean().to_numpy(dtype=np.float64)
    if not len(rows):
        return untestable(f"no seed has all {wide.shape[1]} p_gen", memorizing.trials, memorizing.sql)
    cells = frame.set_index([*SEEDS, "p_mem"]).index
    used = memorizing.having(frame[cells.isin(table.index) & frame["p_gen"].isin(table.columns)])
    seeds = len(wide.groupby(level=list(SEEDS)))
    left_out = f"; without {counted(seeds - len(rows), 'seed')} that lack a p_gen" if len(rows) < seeds else ""
    test, each = page_trend(rows)
    page = f"Page's test: p = {test.p:.2g}, which must be below 0.05; " if len(rows) > 1 else ""
    reason = (
        f"mean over seeds of Spearman's coefficient of clean accuracy and {table.shape[1]} p_gen; "
        f"{page}each seed's: {listed(each)}{left_out}"
    )
    return ranked(test, each, len(rows), reason, used.trials, used.sql)


def _baseline_settings(observations: Observations) -> list[Setting]:
    kinds, aside = ("standard", "sparse", "example_tied"), ("dropout", "keep", "unit", "p_gen", "p_mem")
    return observations.settings("evaluate", dropout=kinds, without=aside)


def _e3(case: Case) -> Estimates:
    """By dropout and kept share, each in its usual unit: training accuracy is at least 0.95. Example-tied: as in E2."""
    methods = _methods(case)
    estimates: dict[str, Estimate] = {}
    if tied := methods.pop("example_tied", []):
        of_tied = case.only(tied)
        estimates |= _estimates_of_cell(of_tied, "example_tied")
    plain = case.rows("evaluation")
    plain = plain[plain["mode"] == "plain"].set_index("trial")
    for what in SETS[:2]:
        accuracies = plain[f"{what}_acc"].dropna()
        there = {f"{method}.{what}": [t for t in trials if t in accuracies] for method, trials in methods.items()}
        known = {part: case.only(trials) for part, trials in there.items() if trials}
        shares = pooled([share(list(accuracies[one.trials]), one.examples(what)) for one in known.values()])
        for (part, one), quantity in zip(known.items(), shares, strict=True):
            compared = f"training accuracy{away(case.numbers.get(part), quantity.value)}"
            estimates[part] = decided(
                quantity, MEMORIZES, compared, one.trials, one.select("evaluation", where="mode = 'plain'")
            )
    return estimates


def _methods(one: Observed) -> dict[str, list[str]]:
    """{a row of Table 3: its trainings}."""
    rows: dict[str, list[str]] = {}
    for trial, config in one.configs.items():
        if config["dropout"] == "example_tied":
            if all(config[field] == value for field, value in TIED_CELL.items()):
                rows.setdefault("example_tied", []).append(trial)
        elif config.get("unit") == {"standard": "element", "sparse": "weight"}[config["dropout"]]:
            rows.setdefault(f"{config['dropout']}.keep{config['keep']:g}", []).append(trial)
    return rows


def _trainings_of_3(part: str) -> Mapping[str, object]:
    dropout, _, keep = part.rpartition(".")[0].partition(".keep")
    return {"dropout": dropout, **({"keep": float(keep)} if keep else TIED_CELL)}


def _trainings_of_2(part: str) -> Mapping[str, object]:
    return {"dropout": "example_tied", **CELLS.get(part.rpartition(".")[0], {"p_gen": P_GEN})}


CLAIMS = (
    Claim(
        "E2",
        "§6.2, Table 2",
        "so it does for all p_gen and p_mem, and clean accuracy grows with p_gen",
        "evaluate",
        _e2,
        here({**OF_TABLE_2, "trend": None}),
        memorizing=False,
        settings=tied_settings,
        trainings=_trainings_of_2,
    ),
    Claim(
        "E3",
        "§6.2, Table 3",
        "standard dropout and sparse networks still memorize (the paper's example-tied row is Table 2's cell (0.3, 0.2), "
        "not (0.4, 0.2))",
        "evaluate",
        _e3,
        here(OF_TABLE_3),
        memorizing=False,
        settings=_baseline_settings,
        trainings=_trainings_of_3,
    ),
)


def _table_2(subject: Subject) -> Drawn:
    """The cells that were run, and the paper's. Nothing with a single cell."""
    p_gens, p_mems = (sorted({config[field] for config in subject.configs.values()}) for field in ("p_gen", "p_mem"))
    numbers = subject.numbers("E2")
    if len(p_gens) * len(p_mems) < 2 or not any(j.interval for j in numbers.values()):
        return []
    rows = []
    for p_mem in p_mems:
        for what in SETS[:2]:
            parts = [f"{cell(p_gen, p_mem)}.{what}" for p_gen in p_gens]
            rows.append([f"p_mem {p_mem:g}, {what}", *(in_per_cent(numbers.get(part)) for part in parts)])
            if any(part in OF_TABLE_2 for part in parts):
                papers = [paper_in_per_cent(OF_TABLE_2.get(part)) for part in parts]
                rows.append([f"p_mem {p_mem:g}, {what}, in the paper", *papers])
    if trend := numbers.get("trend"):
        name = f"clean accuracy grows with p_gen: {trend.verdict_in_words}"
        rows.append([name, trend.printed(2), *[""] * (len(p_gens) - 1)])
    head = ["accuracy, %", *(f"p_gen {p_gen:g}" for p_gen in p_gens)]
    return [Table(subject.label, head, rows, sql_of(subject.setting))]


def _table_3(subject: Subject) -> Drawn:
    """Nothing without a baseline."""
    numbers, rows = subject.numbers("E3"), []
    for method in dict.fromkeys(part.rpartition(".")[0] for part in numbers):
        parts = [f"{method}.{what}" for what in SETS[:2]]
        papers = [paper_in_per_cent(OF_TABLE_3.get(part)) for part in parts]
        rows.append([_in_words(method), *(in_per_cent(numbers.get(part)) for part in parts), *papers])
    head = ["accuracy, %", "clean", "noisy", "clean in the paper", "noisy in the paper"]
    baselines = any("keep" in part for part in numbers)
    return [Table(subject.label, head, rows, subject.select("evaluation"))] if baselines else []


def _in_words(method: str) -> str:
    """`standard dropout, 40 % kept`."""
    dropout, _, keep = method.partition(".keep")
    if not keep:
        return "example-tied dropout (p_gen 0.4, p_mem 0.2), dropped"
    return f"{METHODS[dropout]}, {percent(float(keep))} kept"


EXHIBITS = (
    Exhibit(
        "table2",
        "Table 2",
        "Clean and noisy accuracy after dropping, by p_gen and p_mem",
        "§6.2",
        "The paper finds the same over the whole grid. More p_gen leaves more of both accuracies.",
        "memloc sweep etd-grid --only block=tied",
        tied_settings,
        per_setting(_table_2),
        memorizing=False,
    ),
    Exhibit(
        "table3",
        "Table 3",
        "Other dropouts, which memorize all the same",
        "§6.2",
        "Accuracy on the training set. The paper's 0.4 may be the share that is kept or the share that is dropped. Its "
        "example-tied row is Table 2's cell p_gen 0.3, p_mem 0.2.",
        "memloc sweep paper-grid --only block=baselines",
        _baseline_settings,
        per_setting(_table_3),
        memorizing=False,
    ),
)
