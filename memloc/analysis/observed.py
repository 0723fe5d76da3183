"""One setting of a store: its trainings, its rows and the SQL that returns them, its layers, its examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Self

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations, Sizes
from memloc.analysis.settings import Scope, Setting
from memloc.statistics import Bools, Floats
from memloc.statistics.quantities import training_table


@dataclass(frozen=True)
class Observed:
    """A setting with the store that has it."""

    observations: Observations
    setting: Setting

    def only(self, trials: Sequence[str]) -> Self:
        """Some of its trainings."""
        return replace(self, setting=self.setting.only(trials))

    @property
    def trials(self) -> list[str]:
        """Its trainings, sorted."""
        return self.setting.trials

    @property
    def configs(self) -> dict[str, Mapping[str, Any]]:
        """{trial: its configuration}."""
        return {t: self.observations.trials[t] for t in self.trials}

    @property
    def scope(self) -> Scope:
        """Data set, network and noise rate."""
        return self.setting.scope

    @property
    def where(self) -> str:
        """The condition that selects its rows in the tables of its analyses: `analysis IN ('a', 'b')`."""
        return among("analysis", self.setting.analyses.values())

    def select(self, table: str, order: str = "", where: str = "") -> str:
        """The SQL that returns its rows of a table. where: a further condition."""
        conditions = f"{where} AND {self.where}" if where else self.where
        return f"SELECT * FROM {table} WHERE {conditions}{f' ORDER BY {order}' if order else ''}"

    def rows(self, table: str) -> pd.DataFrame:
        """Its rows, in the order of `Observations.rows`."""
        return self.observations.rows(table, self.setting)

    def dated(self, table: str) -> pd.DataFrame:
        """The same with a column data_seed: examples of trainings are the same ones where it is the same."""
        return self.observations.with_data_seed(self.rows(table))

    def layers(self, names: Iterable[str]) -> list[str]:
        """Layers from the network's input to its output."""
        return self.observations.order(self.setting, names)

    @property
    def sizes(self) -> Sizes:
        """Those of one of its trainings."""
        return self.observations.sizes[self.trials[0]]

    def examples_of(self, of_set: str) -> Callable[[tuple[str, ...]], int | None]:
        """From some of its trainings: how many distinct examples of a set these have, as in `examples`."""
        return cache(lambda trials: self.only(trials).examples(of_set))

    def examples(self, of_set: str) -> int | None:
        """How many distinct (data_seed, example) a set has: clean, noisy, test. None: nobody knows.

        `seed` does not change which are noisy, and the test set is the same for every data_seed.
        """
        if of_set == "test":
            return self.observations.test_size(self.trials[0])
        sizes = {self.observations.trials[t].get("data_seed"): self.observations.sizes[t] for t in self.trials}
        return sum(int(getattr(each, of_set)) for each in sizes.values())


def by_example(frame: pd.DataFrame, column: str, label: str) -> tuple[Floats, Bools]:
    """(float64[trainings, examples], NaN where a training does not have the example; bool[examples], the label).

    data_seed decides which examples are noisy. So an example has a column for each data_seed. Repeats are averaged.

    Args:
        frame: columns trial, data_seed, example, the label, and the column with the values.
        column, label: names of columns.
    """
    units = frame.groupby(["data_seed", "example", label], dropna=False).ngroup().to_numpy()
    training, _ = pd.factorize(frame["trial"], sort=True)
    values, rows = training_table(frame[column].to_numpy(dtype=np.float64), training, units)
    return values, frame[label].to_numpy(dtype=bool)[rows]


def two_sided(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    """The rows of trainings that have examples with and without the label. frame: columns trial and the label."""
    return frame[frame.groupby("trial")[label].transform("nunique") == 2]


def trials_of(frame: pd.DataFrame) -> list[str]:
    """The trainings of rows, sorted."""
    return sorted(set(frame["trial"]))
