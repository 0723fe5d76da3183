"""E1, E4, Table 1: accuracies before and after dropping the memorization neurons (paper §6.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from memloc.analysis.observed import Observed
from memloc.analysis.settings import DATASETS, Scope, name_of
from memloc.papers.charts import Dots, Table
from memloc.papers.claims import Case, Estimates
from memloc.papers.deciding import POSITIVE, SLACK, Estimate, away, decided, over, reaching, saying, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.judgement import Judgement
from memloc.papers.maini2023.dropout.accuracies import (
    CELL,
    SETS,
    TiedRows,
    memorized,
    nearest_cells,
    of_cell,
    sql_of,
    tied_rows,
    tied_settings,
)
from memloc.stages.instrument import LEAST_MEMORIZED
from memloc.statistics import Interval, in_brackets
from memloc.statistics.quantities import complement, difference
from memloc.statistics.regions import Region, decide
from memloc.statistics.trainings import OverTrainings, pooled

MEMORIZES = Region(lo=LEAST_MEMORIZED)
MINOR = Region(hi=0.12)  # a drop of accuracy on clean or on test examples
FORGOTTEN = Region(hi=0.03)  # residual memorization

WHEN = ("before", "after")
IN_GAP = ("clean", "test")  # of accuracies that E4.gap compares
ACCURACIES = tuple(f"{when}.{what}" for when in WHEN for what in SETS)
TABLE_1 = {  # as ACCURACIES
    "cifar10": (0.999, 0.993, 0.793, 0.908, 0.031, 0.827),
    "mnist": (1.0, 1.0, 0.990, 0.992, 0.001, 0.993),
    "svhn": (0.999, 0.996, 0.895, 0.958, 0.014, 0.896),
}
COSTS = {"cifar10": 0.092, "mnist": 0.008, "svhn": 0.042}


class Dropped(NamedTuple):
    """An accuracy after dropping. rows: trainings that have it before and after. by: what decides, or why nothing does."""

    what: str
    rows: TiedRows
    shown: OverTrainings
    by: OverTrainings | str

    @property
    def before(self) -> OverTrainings:
        return self.rows.share(f"before_{self.what}")


def dropped(rows: TiedRows, what: str) -> Dropped | None:
    """None without trainings that have the accuracy before and after dropping."""
    known = rows.known(f"after_{what}", f"before_{what}")
    if known.frame.empty:
        return None
    shown = known.share(f"after_{what}")
    by = known.residual() if what == "noisy" else difference(known.share(f"before_{what}"), shown)
    return Dropped(what, known, shown, by)


def after_dropping(one: Observed) -> dict[str, Dropped]:
    """{set: its accuracy} of the (p_gen, p_mem) of these trainings, from those that memorized.

    Whatever shows a cell takes it from here: the cells of two trainings share their spread.
    """
    whole = next(s for s in tied_settings(one.observations) if {*one.trials} <= {*s.trials})
    key = ("after dropping", *whole.analyses.values())
    cells = one.observations.once(key, lambda: _by_cell(Observed(one.observations, whole)))
    config = one.configs[one.trials[0]]
    return cells.get(tuple(config[field] for field in CELL), {})


def _by_cell(whole: Observed) -> dict[tuple[Any, ...], dict[str, Dropped]]:
    """{(p_gen, p_mem): the same} for a setting with all its cells."""
    rows, _ = memorized(whole)
    cells = {cell: rows.having(frame) for cell, frame in rows.frame.groupby(list(CELL))}
    found: dict[tuple[Any, ...], dict[str, Dropped]] = {cell: {} for cell in cells}
    for what in SETS:
        there = {cell: one for cell, mine in cells.items() if (one := dropped(mine, what))}
        for cell, one in zip(there, family(list(there.values())), strict=True):
            found[cell][what] = one
    return found


def family(cells: Sequence[Dropped]) -> list[Dropped]:
    """The same, of two trainings with the spread of all cells together (`pooled`)."""
    deciding = iter(pooled([one.by for one in cells if not isinstance(one.by, str)]))
    return [
        one._replace(shown=shown, by=one.by if isinstance(one.by, str) else next(deciding))
        for shown, one in zip(pooled([one.shown for one in cells]), cells, strict=True)
    ]


def after(one: Dropped, paper: float | None) -> Estimate:
    """Noisy examples have at most 0.03 of residual memorization; clean and test accuracy lose at most 0.12."""
    compared = f"{one.what} accuracy after dropping{away(paper, one.shown.value)}"
    shown, behind = one.shown.printed, (one.rows.trials, one.rows.sql, one.before.printed)
    if isinstance(one.by, str):
        return Estimate(shown, None, f"{compared}; {one.by}", *behind)
    name, region = ("residual memorization", FORGOTTEN) if one.what == "noisy" else ("its loss by dropping", MINOR)
    reason = f"{compared}; {name} is {in_brackets(one.by.printed, 3)}; it must be {region}; {over(one.by)}"
    return Estimate(shown, decide(one.by.deciding, region, one.by.each), reason, *behind)


def before(rows: TiedRows, what: str, paper: float | None) -> Estimate | None:
    """Clean and noisy accuracy are at least 0.95; test accuracy reaches the paper's, elsewhere it is above chance."""
    known = rows.known(f"before_{what}")
    if known.frame.empty:
        return None
    quantity, guessing = known.share(f"before_{what}"), Region(lo=rows.one.sizes.chance, open_lo=True)
    region = MEMORIZES if what != "test" else guessing if paper is None else reaching(paper)
    compared = f"{what} accuracy before dropping{away(paper, quantity.value)}"
    return decided(quantity, region, compared, known.trials, known.sql)


def _e1(case: Case) -> Estimates:
    """The numbers after dropping are of the trainings that memorized."""
    rows, numbers, cell = tied_rows(case), case.numbers, after_dropping(case)
    _, said = memorized(case)
    estimates = {f"before.{what}": before(rows, what, numbers.get(f"before.{what}")) for what in SETS}
    for what in SETS:
        if dropped(rows, what):
            part = f"after.{what}"
            there = after(cell[what], numbers.get(part)) if what in cell else untestable(said, [], rows.sql)
            estimates[part] = saying(there, said)
    return estimates


def _e4(case: Case) -> Estimates:
    """cost: 1 minus E1's clean accuracy after dropping; at most the paper's plus 0.03, elsewhere at most 0.12.

    gap: by how much dropping narrows the difference of clean and test accuracy; above 0.
    """
    rows, numbers = tied_rows(case).known(*(f"{when}_{what}" for when in WHEN for what in IN_GAP)), case.numbers
    estimates = {}
    if one := after_dropping(case).get("clean"):
        cost, number = complement(one.shown), numbers.get("cost")
        region = MINOR if number is None else Region(hi=round(number + SLACK, 9))
        compared = f"clean accuracy lost, from 1{away(number, cost.value)}"
        estimates["cost"] = decided(cost, region, compared, one.rows.trials, one.rows.sql)
    if not rows.frame.empty:
        gaps = [difference(*(rows.share(f"{when}_{what}") for what in IN_GAP)) for when in WHEN]
        narrowed, means = (
            difference(*gaps),
            " and ".join(f"{gap.value:.3f} {when}" for gap, when in zip(gaps, WHEN, strict=True)),
        )
        compared = f"how much smaller dropping makes clean minus test accuracy, which is {means}"
        compared += away(numbers.get("gap"), narrowed.value)
        estimates["gap"] = decided(narrowed, POSITIVE, compared, rows.trials, rows.sql)
    return estimates


CLAIMS = (
    of_cell(
        "E1",
        "§6.2, Table 1",
        "dropping the memorization neurons takes the noisy labels away and costs little else (the paper does not state "
        "p_gen, p_mem; its CIFAR-10 row is (0.3, 0.2))",
        estimate=_e1,
        scopes={Scope(d): dict(zip(ACCURACIES, row, strict=True)) for d, row in TABLE_1.items()},
        memorizing=False,
    ),
    of_cell(
        "E4",
        "§6.2",
        "dropping costs few clean examples and narrows the generalization gap (§6.2 counts from 100 %; "
        "Table 1's differences are 0.1 points smaller)",
        estimate=_e4,
        scopes={Scope(d): {"cost": COSTS[d], "gap": round((r[0] - r[2]) - (r[3] - r[5]), 3)} for d, r in TABLE_1.items()},
    ),
)


def in_per_cent(judgement: Judgement | None) -> str:
    """`90.8 [89.9, 91.7]`; – where there is no number."""
    return _per_cent(None if judgement is None else judgement.interval)


def _per_cent(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    value, *ends = interval
    return in_brackets(Interval(100 * value, *(None if end is None else 100 * end for end in ends)), 1)


def paper_in_per_cent(number: float | None) -> str:
    return "–" if number is None else f"{100 * number:.1f}"


def _before_in_per_cent(numbers: Mapping[str, Judgement], what: str) -> str:
    """Of the trainings behind the number after dropping; of all trainings where there is no such number."""
    dropped_ones, everyone = numbers.get(f"after.{what}"), numbers.get(f"before.{what}")
    return _per_cent(dropped_ones.beside) if dropped_ones and dropped_ones.interval else in_per_cent(everyone)


def _table_1(subjects: Sequence[Subject]) -> Drawn:
    rows = []
    for subject in subjects:
        numbers = subject.numbers("E1")
        cell = [f"{k} {subject.setting.config[k]:g}" for k in CELL]
        name = dict.fromkeys([*(subject.label or name_of(subject.scope.dataset)).split(", "), *cell])
        if any(j.interval for j in numbers.values()):
            before = [_before_in_per_cent(numbers, what) for what in SETS]
            rows.append([", ".join(name), *before, *(in_per_cent(numbers.get(f"after.{what}")) for what in SETS)])
    if not rows:
        return []
    rows += [[f"{name_of(d)} in the paper", *map(paper_in_per_cent, papers)] for d, papers in TABLE_1.items()]
    head = ["accuracy, %", *(part.replace(".", ": ") for part in ACCURACIES)]
    return [Table("", head, rows, sql_of(*(subject.setting for subject in subjects)))]


def _dots(subject: Subject) -> Drawn:
    """E1's quantities. Both are of the trainings that memorized, if any did."""
    rows, cell = tied_rows(subject), after_dropping(subject)
    known = {what: cell[what].rows if what in cell else rows.known(f"before_{what}") for what in SETS}
    values = {
        "before dropping": [None if of.frame.empty else of.share(f"before_{what}") for what, of in known.items()],
        "after dropping": [cell[what].shown if what in cell else None for what in SETS],
    }
    kept = {name: cells for name, cells in values.items() if any(cells)}
    return [Dots(subject.label, SETS, kept, "accuracy", sql_of(subject.setting), x_range=(0.0, 1.0))] if kept else []


EXHIBITS = (
    Exhibit(
        "table1",
        "Table 1",
        "Accuracy before and after dropping the memorization neurons",
        "§6.2",
        "Before dropping, a training example has its own neurons, and a test example has all, scaled. All numbers are of "
        "the trainings that memorized. If none did, those before dropping are of all trainings.",
        "memloc sweep etd-grid",
        nearest_cells,
        _table_1,
        Wanted(DATASETS, ("resnet9",), (0.1,), CELL),
        claims=("E4",),
        memorizing=False,
    ),
)
PICTURE = replace(
    EXHIBITS[0],
    id="pic-dropout",
    shows="Accuracy on the clean and noisy training examples, and on the test set.",
    wanted=Wanted(("cifar10",), ("resnet9",), (0.1,), CELL),
    draw=per_setting(_dots),
    claims=(),
    shown=1,
)
