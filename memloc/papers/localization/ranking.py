"""Methods by a number of their rows: a value per training and method, paired differences, and what would tell them apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from memloc.analysis.observed import Observed
from memloc.papers.charts import over
from memloc.stages.locate.config import METHODS
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.scales import AREA, Scale
from memloc.statistics.trainings import PRINTED, OverTrainings, student_half

CONTROLS = tuple(method.name for method in METHODS if method.control)  # a user's own say so in their rows
CENSORED = 64  # closings at which a deletion ends
MOST = 1000  # trainings beyond which nobody will run as many


@dataclass(frozen=True)
class Pair:
    """Two methods on the same items. difference: of the first less the second. needed: with so many items, spread over
    trainings as now, the 95 % interval of a difference as large would not have 0 in it; None: with no reasonable number.
    """

    one: str
    other: str
    difference: OverTrainings
    items: int
    needed: int | None

    @property
    def told(self) -> bool:
        """Is 0 outside of the interval?"""
        interval = self.difference.printed
        return interval.lo is not None and interval.hi is not None and not interval.lo <= 0 <= interval.hi


def by_training(one: Observed, column: str, noisy: bool = True) -> pd.DataFrame:
    """Trainings × methods: the mean of a column over the items that were not skipped. NaN where there is none."""
    rows = one.rows("localization")
    rows = rows.assign(k_star=closings(rows))
    rows = rows[(rows["noisy"] == noisy) & rows[column].notna()]
    table: pd.DataFrame = rows.pivot_table(index="trial", columns="method", values=column, aggfunc="mean")
    return table


def closings(rows: pd.DataFrame) -> pd.Series:
    """k*, or where the closing ended if the label was not lost until then."""
    ended = rows["n_candidates"].clip(upper=CENSORED).where(rows["censored"].notna())
    filled: pd.Series = rows["k_star"].astype(float).fillna(ended)
    return filled


def items_of(one: Observed, column: str) -> int:
    """How many memorized items have the number, in all trainings together."""
    rows = one.rows("localization")
    kept = rows[rows["noisy"] & rows[column].notna()]
    return len(kept[["trial", "network", "example"]].drop_duplicates())


def controls_of(one: Observed) -> set[str]:
    """The methods that must find nothing."""
    rows = one.rows("localization")
    return {str(name) for name in rows["method"][rows["control"].astype(bool)]}


def ranked(table: pd.DataFrame, scale: Scale = AREA) -> dict[str, OverTrainings]:
    """{method: its mean over trainings}, the highest first. scale: of the numbers; by default they are AUCs."""
    mean = partial(mean_of_trainings, scale=scale)
    found = {str(name): quantity for name in table.columns if (quantity := over(table[name], mean))}
    return dict(sorted(found.items(), key=lambda item: (-item[1].value, item[0])))


def pairs(table: pd.DataFrame, items: int, controls: Collection[str] = CONTROLS) -> list[Pair]:
    """Every two methods, controls aside, in the order of the ranking. Trainings that have both are compared."""
    order = [name for name in ranked(table) if name not in controls]
    found = []
    for one, other in combinations(order, 2):
        differences = (table[one] - table[other]).dropna().tolist()
        if differences:
            quantity = mean_of_trainings(differences)
            needed = trainings_needed(differences)
            found.append(Pair(one, other, quantity, items, None if needed is None else _items(needed, items, len(table))))
    return found


def _items(needed: int, items: int, trainings: int) -> int:
    return int(np.ceil(needed * items / trainings))


def trainings_needed(differences: Sequence[float]) -> int | None:
    """The fewest trainings with which Student's 95 % interval of a mean like this one, with this spread, leaves out 0.

    None: more than MOST, or the spread of a single training, which nobody knows.
    """
    mean, k = abs(float(np.mean(differences))), len(differences)
    if k < 2 or mean == 0:
        return None
    deviation = np.array(np.std(differences, ddof=1))
    return next((n for n in range(2, MOST + 1) if student_half(deviation, n - 1, n, PRINTED) < mean), None)
