"""Example-tied dropout (paper §6.2): Tables 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memloc.report.charts import Exhibit, Table
from memloc.report.selection import Wanted, select
from memloc.report.setting_rows import (
    JOINS,
    KEYS,
    SettingRows,
    name_of,
    near_the_papers_cell,
    over_seeds,
    percent,
    seeds_in_words,
    split,
    telling_apart,
)
from memloc.report.source import Source

ACCURACIES = ("clean", "noisy", "test")

TIED = f"""SELECT {KEYS}, p_gen, p_mem, mode, {", ".join(f"list({n}_acc ORDER BY trial) AS {n}" for n in ACCURACIES)}
FROM evaluation {JOINS}
WHERE dropout = 'example_tied' AND rescale = 'none' AND mode IN ('own', 'scaled', 'dropped')
GROUP BY ALL ORDER BY ALL"""

BASELINES = f"""SELECT {KEYS}, dropout, keep, p_gen, p_mem,
       list(clean_acc ORDER BY trial) AS clean, list(noisy_acc ORDER BY trial) AS noisy
FROM evaluation {JOINS}
WHERE rescale = 'none' AND (
  dropout IN ('standard', 'sparse') AND mode = 'plain' OR dropout = 'example_tied' AND mode = 'dropped')
GROUP BY ALL ORDER BY ALL"""

# As printed, in per cent: before and after dropping, on clean, noisy and test examples.
PAPER_TABLE1 = {
    "cifar10": ("99.9", "99.3", "79.3", "90.8", "3.1", "82.7"),
    "mnist": ("100", "100", "99.0", "99.2", "0.1", "99.3"),
    "svhn": ("99.9", "99.6", "89.5", "95.8", "1.4", "89.6"),
}
PAPER_TABLE2 = {
    0.1: {0.1: "84.2, 2.9", 0.2: "86.9, 2.8", 0.3: "87.1, 2.9", 0.4: "89.9, 3.1", 0.5: "92.0, 3.9", 0.6: "93.0, 4.9"},
    0.2: {0.1: "86.9, 2.8", 0.2: "88.2, 3.0", 0.3: "90.8, 3.1", 0.4: "91.7, 3.4", 0.5: "93.6, 4.7", 0.6: "95.0, 6.9"},
}
PAPER_TABLE3: dict[tuple[Any, ...], str] = {
    **{("standard", keep): "100, 99.5" for keep in (0.4, 0.6)},  # both readings of its 0.4: kept, dropped
    **{("sparse", keep): "100, 99.8" for keep in (0.4, 0.6)},
    ("example_tied", 0.4, 0.2): "90.8, 3.1",
}
HALF = "± half the 95 % interval, or the interval where it ends at 0 or 100"
METHODS = {"standard": "Standard dropout", "sparse": "Sparse network", "example_tied": "Example-tied, dropped"}


def cell(lists: Any, digits: int = 1) -> str:
    """`90.8 ±0.4`: per cent, with half the interval over seeds. If the interval is cut at 0 or 100: `97.0 [91.2, 100.0]`."""
    interval = over_seeds(lists, 0.0, 1.0)
    if interval is None:
        return "–"
    if interval.lo is None or interval.hi is None:
        return f"{100 * interval.value:.{digits}f}"
    above, below = interval.hi - interval.value, interval.value - interval.lo
    if not math.isclose(above, below, abs_tol=1e-9):
        return f"{100 * interval.value:.{digits}f} [{100 * interval.lo:.{digits}f}, {100 * interval.hi:.{digits}f}]"
    return f"{100 * interval.value:.{digits}f} ±{100 * above:.{digits}f}"


def _at(setting: SettingRows, mode: str, name: str) -> Any:
    rows = setting.rows[setting.rows["mode"] == mode]
    return rows[name].iloc[0] if len(rows) else None


def table1(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "table1",
        "Table 1",
        "Accuracy before and after dropping the memorization neurons",
        "6.2",
        f"Per cent, {HALF}. Before: training examples with their own neurons, test with all, scaled.",
        "memloc sweep etd-grid",
    )
    settings = near_the_papers_cell(split(source.frame(TIED)))
    selection = select(settings, Wanted(tuple(PAPER_TABLE1), ("resnet9",), (0.1,)))
    rows = []
    for s, more in zip(selection.settings, telling_apart(selection.settings), strict=True):
        before = [cell(_at(s, "scaled" if n == "test" else "own", n)) for n in ACCURACIES]
        rows.append([f"{_name(s)}{more}", *before, *(cell(_at(s, "dropped", n)) for n in ACCURACIES)])
    if rows:
        rows += [[f"{name_of(d)} in the paper", *values] for d, values in PAPER_TABLE1.items()]
    head = ["data", *(f"before: {n}" for n in ACCURACIES), *(f"after: {n}" for n in ACCURACIES)]
    tables = [Table("Accuracy, %", head, rows)] if rows else []
    return selection.fill(exhibit, TIED, tables=tables, seeds=_seeds(selection.settings))


def _name(setting: SettingRows) -> str:
    return f"{name_of(setting.dataset)}, p_gen {setting.train['p_gen']:g}, p_mem {setting.train['p_mem']:g}"


def _seeds(settings: Sequence[SettingRows]) -> str:
    return seeds_in_words(v for s in settings for v in s.rows.clean)


@dataclass(frozen=True)
class _Grid:
    """The settings that differ in p_gen and p_mem alone."""

    label: str
    cells: dict[tuple[float, float], SettingRows]


def _grids(settings: Sequence[SettingRows]) -> list[_Grid]:
    grids: dict[str, dict[tuple[float, float], SettingRows]] = {}
    for s in settings:
        others = {k: v for k, v in s.train.items() if k not in ("p_gen", "p_mem")}
        grids.setdefault(str((others, s.stage)), {})[(s.train["p_gen"], s.train["p_mem"])] = s
    first = [next(iter(cells.values())) for cells in grids.values()]
    names = [f"{name_of(s.dataset)}, {name_of(s.model)}, {percent(s.noise)} noise" for s in first]
    return [_Grid(n + more, by_cell) for n, more, by_cell in zip(names, telling_apart(first), grids.values(), strict=True)]


def table2(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "table2",
        "Table 2",
        "Clean and noisy accuracy after dropping, by p_gen and p_mem",
        "6.2",
        f"Per cent: clean, noisy; {HALF}. The paper: robust over the grid; more p_gen leaves more of both.",
        "memloc sweep etd-grid",
    )
    selection = select(split(source.frame(TIED)), Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=100)
    grids = [g for g in _grids(selection.settings) if len(g.cells) > 1]
    tables = [_grid_table(g) for g in grids]
    return selection.fill(exhibit, TIED, tables=tables, seeds=_seeds([s for g in grids for s in g.cells.values()]))


def _grid_table(grid: _Grid) -> Table:
    columns = sorted({g for g, _ in grid.cells})
    rows = []
    for p_mem in sorted({m for _, m in grid.cells}):
        cells = [grid.cells.get((p_gen, p_mem)) for p_gen in columns]
        words = [
            "–" if s is None else f"{cell(_at(s, 'dropped', 'clean'))}, {cell(_at(s, 'dropped', 'noisy'))}" for s in cells
        ]
        rows.append([f"p_mem {p_mem:g}", *words])
        if p_mem in PAPER_TABLE2:
            rows.append([f"p_mem {p_mem:g} in the paper (CIFAR-10)", *(PAPER_TABLE2[p_mem].get(c, "–") for c in columns)])
    return Table(f"Clean, noisy, %: {grid.label}", ["", *(f"p_gen {c:g}" for c in columns)], rows)


def table3(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "table3",
        "Table 3",
        "Other dropouts, which memorize all the same",
        "6.2",
        f"Accuracy on the training set, per cent; {HALF}. keep: the fraction left on. The paper's 0.4 may be what is "
        "kept or what is dropped; both are here.",
        "memloc sweep paper-grid --only block=baselines",
    )
    selection = select(split(source.frame(BASELINES)), Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=100)
    wanted = [s for s in selection.settings if s.train["dropout"] != "example_tied" or _tied_row(s)]
    has_baseline = any(s.train["dropout"] != "example_tied" for s in wanted)
    wanted = sorted(wanted, key=_method_order) if has_baseline else []
    rows = [_method_row(s, more) for s, more in zip(wanted, telling_apart(wanted), strict=True)]
    tables = [Table("Accuracy, %", ["method", "data", "clean", "noisy", "in the paper: clean, noisy"], rows)] if rows else []
    filled = selection.fill(exhibit, BASELINES, tables=tables, seeds=_seeds(wanted))
    if not rows:
        return filled
    return selection.remark(filled, "The paper's example-tied numbers are those of its Table 2 at p_gen 0.3, p_mem 0.2.")


def _tied_row(setting: SettingRows) -> bool:
    return (setting.train["p_gen"], setting.train["p_mem"]) in ((0.4, 0.2), (0.3, 0.2))


def _method_order(setting: SettingRows) -> tuple[int, float]:
    return list(METHODS).index(setting.train["dropout"]), setting.train.get("keep") or setting.train.get("p_gen") or 0.0


def _method_row(setting: SettingRows, more: str) -> list[str]:
    train = setting.train
    tied = train["dropout"] == "example_tied"
    key = ("example_tied", train["p_gen"], train["p_mem"]) if tied else (train["dropout"], train["keep"])
    what = f"p_gen {train['p_gen']:g}, p_mem {train['p_mem']:g}" if tied else f"keep {train['keep']:g}"
    if not tied and train.get("unit") not in (None, "weight"):
        what += f", per {train['unit']}"
    row = setting.rows.iloc[0]
    return [
        f"{METHODS[train['dropout']]} ({what})",
        name_of(setting.dataset) + more,
        cell(row.clean),
        cell(row.noisy),
        PAPER_TABLE3.get(key, "–"),
    ]
