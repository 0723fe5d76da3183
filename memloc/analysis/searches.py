"""What the searches of a setting found, by training and example: how many neurons, and what closing them cost.

Repeats of an example in a training are averaged first. Trainings with the same data_seed share their examples. Rows are read
batch by batch; memory has those of one setting, and then the tables.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.read_ahead import ReadAhead
from memloc.statistics import Bools, Floats
from memloc.statistics.quantities import cell_means

BINS = 50  # of the accuracies in tallies
LEFT = ("clean_acc", "noisy_acc", "test_acc")
TYPES: dict[str, Any] = {  # of columns of `flips`
    "example": np.int32,
    "repeat": np.int32,
    "noisy": bool,
    "eligible": bool,
    "count": np.float64,
    "censored": bool,
    **dict.fromkeys(LEFT, np.float64),
}
Wholes = npt.NDArray[np.int64]
EMPTY = {name: np.zeros(0, of) for name, of in TYPES.items()}


class TwoSided(NamedTuple):
    """The trainings that have values of clean and of noisy examples, and the examples that they have.

    trials: sorted. values: float64[trainings, examples], NaN where a training does not have the example. noisy:
    bool[examples].
    """

    trials: list[str]
    values: Floats
    noisy: Bools


@dataclass(frozen=True)
class Searches:
    """The searches of trainings; all but `rows` speaks of the eligible ones.

    trials: sorted. noisy: bool[examples], of distinct (data_seed, example). tables: float64[trainings, examples], NaN where
    there is none, of `count` (max_neurons where censored), `left` (accuracy on the training set afterwards) and `test_acc`.
    tallies: of `count` and `left` (rounded up to 1/50), columns noisy, trial, value and how many searches. closed: {noisy:
    the sum of counts}. rows: {noisy: the number of searches, eligible or not}.
    """

    trials: list[str]
    noisy: Bools
    tables: Mapping[str, Floats]
    tallies: Mapping[str, pd.DataFrame]
    closed: Mapping[bool, float]
    rows: Mapping[bool, int]

    @classmethod
    def of(cls, everything: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> Self:
        """From rows trial, data_seed, example, noisy, eligible, count and, where they are known, accuracies.

        sizes: {trial: (|S_c|, |S_n|)}; left = (|S_c|·clean_acc + |S_n|·noisy_acc) / n.
        """
        rows = everything[everything["eligible"]]
        training, names = pd.factorize(rows["trial"], sort=True)
        trials = [str(name) for name in names]
        unit, members = units(rows["data_seed"].to_numpy(), rows["example"].to_numpy(), rows["noisy"].to_numpy(dtype=bool))
        columns = {name: rows[name].to_numpy(np.float64) for name in ("count", *LEFT) if name in rows}
        if "clean_acc" in columns:
            clean, noisy = (np.array([sizes[t][k] for t in trials], np.int64)[training] for k in (0, 1))
            columns["left"] = (clean * columns["clean_acc"] + noisy * columns["noisy_acc"]) / (clean + noisy)
        cells, shape = training * len(members) + unit, (len(trials), len(members))
        of_row, rounded = members[unit], {"count": columns["count"]}
        if "left" in columns:  # up, so that the share of searches at each of the 51 values is exact
            rounded["left"] = np.ceil(BINS * columns["left"] - 1e-9) / BINS
        return cls(
            trials,
            members,
            {name: cell_means(columns[name], cells, shape) for name in ("count", "left", "test_acc") if name in columns},
            {name: _tally(of_row, training, column, trials) for name, column in rounded.items()},
            {noisy: float(np.nansum(columns["count"][of_row == noisy])) for noisy in (False, True)},
            {noisy: int((everything["noisy"] == noisy).sum()) for noisy in (False, True)},
        )

    @classmethod
    def read(cls, observations: Observations, analyses: Collection[str]) -> Searches:
        """Those of analyses of `flips`, each of another training. They are kept for whoever asks again."""
        analyses = set(analyses)

        def make() -> Searches:
            rows = searched(observations, analyses)
            sizes = {t: observations.sizes[t] for t in rows["trial"].cat.categories}
            return cls.of(rows, {t: (size.clean, size.noisy) for t, size in sizes.items()})

        return observations.once(("searches", *sorted(analyses)), make)

    @property
    def nbytes(self) -> int:
        """Of the tables and tallies."""
        tallies = sum(int(tally.memory_usage().sum()) for tally in self.tallies.values())
        return tallies + sum(table.nbytes for table in self.tables.values())

    def having(self, column: str) -> list[str]:
        """The trainings that have a value."""
        return _named(self.trials, np.asarray(~np.isnan(self._table(column)).all(axis=1)))

    def two_sided(self, column: str) -> TwoSided:
        """The values of a column of `tables`; nothing where no training has those of both sets."""
        table, kept = self._table(column), self._both(column)
        has = ~np.isnan(table[kept]).all(axis=0)
        return TwoSided(_named(self.trials, kept), table[np.ix_(kept, has)], self.noisy[has])

    def tally(self, column: str) -> tuple[pd.DataFrame, dict[bool, int]]:
        """(that of the trainings with both sets, {noisy: the number of examples}); of all if there is none with both."""
        both = self._both(column)
        kept = both if both.any() else np.ones_like(both)
        has, tally = ~np.isnan(self._table(column)[kept]).all(axis=0), self.tallies.get(column, _tally([], [], [], []))
        examples = {noisy: int((has & (self.noisy == noisy)).sum()) for noisy in (False, True)}
        return tally[tally["trial"].isin(_named(self.trials, kept))], examples

    def _table(self, column: str) -> Floats:
        return self.tables.get(column, np.full((len(self.trials), len(self.noisy)), np.nan))

    def _both(self, column: str) -> Bools:
        there = ~np.isnan(self._table(column))
        return np.asarray(there[:, self.noisy].any(axis=1) & there[:, ~self.noisy].any(axis=1))


def _named(trials: list[str], kept: Bools) -> list[str]:
    return [trials[k] for k in np.flatnonzero(kept)]


def _tally(noisy: Any, training: Any, values: Any, trials: Sequence[str]) -> pd.DataFrame:
    """How many searches have a value: columns noisy, trial, value, searches. NaN is left out."""
    rows = pd.DataFrame({"noisy": noisy, "trial": training, "value": values})
    tally = rows.groupby(["noisy", "trial", "value"]).size().rename("searches").reset_index()
    return tally.assign(trial=np.array(trials, object)[tally["trial"].to_numpy(np.int64)])


def units(data_seeds: Any, examples: Any, noisy: Bools) -> tuple[Wholes, Bools]:
    """(int64[rows]: the number of a row's (data_seed, example), bool[examples]: is it mislabeled?); sorted by both."""
    seed, _ = pd.factorize(data_seeds, sort=True, use_na_sentinel=False)
    width = int(examples.max(initial=0)) + 1
    unit, known = pd.factorize((seed * width + examples) * 2 + noisy, sort=True)
    return unit.astype(np.int64), known % 2 == 1


def searched(observations: Observations, analyses: Collection[str]) -> pd.DataFrame:
    """The rows of these analyses of `flips`, in their order.

    Columns trial (categories, sorted), data_seed, example, repeat, noisy, eligible, count (max_neurons where censored), and
    accuracies.
    """
    ahead = observations.once(("read ahead: searches",), lambda: ReadAhead(observations, list(TYPES), (), _arrays, EMPTY))
    chosen = trainings(observations, analyses)
    rows = ahead.take(chosen.analyses)
    number, censored = rows.pop("number"), rows.pop("censored")
    limits = np.array([observations.configs[analysis].get("max_neurons") for analysis in chosen.analyses], np.float64)
    rows["count"][censored] = limits[number[censored]]
    trial = pd.Categorical.from_codes(chosen.places[number], categories=pd.Index(chosen.trials, dtype=object))
    return pd.DataFrame({"trial": trial, "data_seed": chosen.data_seeds[number], **rows})


def _arrays(batch: Any) -> dict[str, Any]:
    return {name: batch.column(name).to_numpy(zero_copy_only=False).astype(of, copy=False) for name, of in TYPES.items()}


class Trainings(NamedTuple):
    """Of analyses: trials, sorted; of each analysis the place of its trial among them, and its data_seed (NaN: none)."""

    analyses: list[str]
    trials: list[str]
    places: Wholes
    data_seeds: Floats


def trainings(observations: Observations, analyses: Collection[str]) -> Trainings:
    """Those of analyses, which come back in the order of the store's."""
    trial_of = {row["analysis"]: row["trial"] for row in observations.analyses if row["analysis"] in analyses}
    trials = sorted(set(trial_of.values()))
    place = {trial: k for k, trial in enumerate(trials)}
    seeds = np.array([observations.trials[trial].get("data_seed") for trial in trial_of.values()], np.float64)
    return Trainings(list(trial_of), trials, np.array([place[t] for t in trial_of.values()], np.int64), seeds)


def codes(column: Any, numbers: dict[str, int]) -> Any:
    """int64[rows]: the number of each text of a dictionary column. Texts that have none get the next one."""
    of_texts = [numbers.setdefault(text, len(numbers)) for text in column.dictionary.to_pylist()]
    return np.array(of_texts, np.int64)[column.indices.to_numpy(zero_copy_only=False)]
