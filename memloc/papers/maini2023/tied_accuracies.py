"""Accuracies of example-tied networks before and after dropping, over trainings, and what follows from them (paper §6.2).

`before` is mode own on the training set and scaled on test; `after` is mode dropped, without rescaling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.papers.maini2023.observations import Sizes
from memloc.statistics.quantities import accuracy, difference
from memloc.statistics.scales import SHARE
from memloc.statistics.trainings import OverTrainings

SETS = ("clean", "noisy", "test")
Limits = Callable[[float], tuple[float, float] | None]


def accuracies(evaluation: pd.DataFrame) -> pd.DataFrame:
    """One row per training, columns `before_clean` … `after_test`, `after_true`; NaN where its mode was not evaluated.

    after_true: the share of the noisy examples that are predicted as their true class; NaN in older evaluations.
    """
    by_mode = {
        (mode, rescale): rows.set_index("trial")
        for (mode, rescale), rows in evaluation.groupby(["mode", "rescale"], sort=False)
    }
    frame = pd.DataFrame(index=pd.Index(sorted(set(evaluation["trial"])), name="trial"))
    columns = {f"before_{what}": ("scaled" if what == "test" else "own", f"{what}_acc") for what in SETS}
    columns |= {f"after_{what}": ("dropped", f"{what}_acc") for what in SETS} | {"after_true": ("dropped", "noisy_true_acc")}
    for name, (mode, column) in columns.items():
        rows = by_mode.get((mode, "none"))
        frame[name] = np.nan if rows is None else rows[column].astype(np.float64)
    return frame.reset_index()


@dataclass(frozen=True)
class TiedRows:
    """Trainings of one setting. frame: a row each: trial, data_seed, p_gen, p_mem, seed, columns of `accuracies`.

    sizes: of each training. test: how many test examples there are; None: not known. wrong: how wrong labels were drawn.
    """

    frame: pd.DataFrame
    sizes: Sizes
    test: int | None
    wrong: str

    def only(self, trials: Sequence[str]) -> TiedRows:
        return replace(self, frame=self.frame[self.frame["trial"].isin(trials)])

    def known(self, *columns: str) -> TiedRows:
        """Those that have all these accuracies."""
        return replace(self, frame=self.frame.dropna(subset=list(columns)))

    @property
    def trials(self) -> list[str]:
        return list(self.frame["trial"])

    def share(self, column: str) -> OverTrainings | None:
        """An accuracy. None without trainings that have it."""
        values = self.frame[column].dropna()
        return None if values.empty else share(list(values), self._examples(column.partition("_")[2]))

    def lost(self, what: str) -> OverTrainings | None:
        """By how much dropping lowers an accuracy."""
        both = self.known(f"before_{what}", f"after_{what}")
        before, after = (both.share(f"{when}_{what}") for when in ("before", "after"))
        return less(before, after) if before and after else None

    def lost_from_1(self) -> OverTrainings | None:
        """1 minus clean accuracy after dropping."""
        return replace(self, frame=self.frame.assign(after_clean=1 - self.frame["after_clean"])).share("after_clean")

    def narrowed(self) -> OverTrainings | None:
        """By how much dropping narrows the gap between clean and test accuracy."""
        all_four = self.known("before_clean", "before_test", "after_clean", "after_test")
        if all_four.frame.empty:
            return None
        return less(all_four._gap("before"), all_four._gap("after"))

    def _gap(self, when: str) -> OverTrainings:
        clean, test = (share(list(self.frame[f"{when}_{s}"]), self._examples(s)) for s in ("clean", "test"))
        return less(clean, test)

    def residual(self) -> OverTrainings | str:
        """Residual memorization after dropping; or why it is not known.

        It is the share of noisy examples that get their given label, less what a network without memorization would have: of
        its errors on them, one in K − 1 is the given label, if wrong labels were drawn uniformly.
        """
        rows = self.known("after_noisy")
        if self.wrong != "uniform" or self.sizes.classes < 3:
            return "residual memorization is defined for wrong labels drawn uniformly among several classes"
        if rows.frame["after_true"].isna().any():
            return "how many noisy examples get their true label is not known (noisy_true_acc): run evaluate again"
        noisy, others = share(list(rows.frame["after_noisy"]), self._examples("noisy")), self.sizes.classes - 1
        errors = share(list(1 - rows.frame["after_true"]), self._examples("noisy"))
        return less(noisy, scaled(errors, 1 / others))

    def _examples(self, what: str) -> int | None:
        """How many distinct (data_seed, example). The test set is the same for every data_seed."""
        if what == "test":
            return self.test
        return {"clean": self.sizes.clean, "noisy": self.sizes.noisy}[what] * int(
            self.frame["data_seed"].nunique(dropna=False)
        )


def share(values: Sequence[float], n: int | None) -> OverTrainings:
    """The mean of accuracies on n examples. n None or 0: the examples say nothing, and the trainings alone do."""
    return accuracy(values, n) if n else OverTrainings(float(np.mean(values)), tuple(map(float, values)), scale=SHARE)


def less(one: OverTrainings, other: OverTrainings) -> OverTrainings:
    """one − other in the same trainings; without an interval over examples where one of them has none."""
    whole = difference(one, other)
    return whole if one.examples and other.examples else replace(whole, examples=None)


def scaled(quantity: OverTrainings, factor: float) -> OverTrainings:
    """factor · quantity, for a share; factor > 0."""
    each, limits = tuple(factor * v for v in quantity.each), quantity.examples
    return OverTrainings(factor * quantity.value, each, limits and partial(_scaled, limits, factor))


def _scaled(limits: Limits, factor: float, level: float) -> tuple[float, float] | None:
    found = limits(level)
    return found and (factor * found[0], factor * found[1])
