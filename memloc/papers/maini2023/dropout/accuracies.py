"""Accuracies of example-tied networks before and after dropping, over trainings (paper §6.2).

`before` is mode own on the training set and scaled on test; `after` is mode dropped, without rescaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations, Sizes
from memloc.analysis.observed import Observed
from memloc.analysis.settings import Setting
from memloc.papers.claims import Claim
from memloc.statistics.quantities import difference, scaled, share
from memloc.statistics.trainings import OverTrainings

SETS = ("clean", "noisy", "test")
IN_GAP = ("before_clean", "before_test", "after_clean", "after_test")  # what E4.gap compares
CELL = {"p_gen": 0.3, "p_mem": 0.2}  # of Table 1 for CIFAR-10; the paper does not say which one Table 1 has


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
        rows = self.known(column)
        return None if rows.frame.empty else rows._share(column)

    def _share(self, column: str) -> OverTrainings:
        return share(list(self.frame[column]), self._examples(column.partition("_")[2]))

    def lost(self, what: str) -> OverTrainings | None:
        """By how much dropping lowers an accuracy."""
        rows = self.known(f"before_{what}", f"after_{what}")
        return None if rows.frame.empty else difference(rows._share(f"before_{what}"), rows._share(f"after_{what}"))

    def narrowed(self) -> OverTrainings | None:
        """By how much dropping narrows the gap between clean and test accuracy."""
        rows = self.known(*IN_GAP)
        if rows.frame.empty:
            return None
        before, after = ([rows._share(f"{when}_{what}") for what in ("clean", "test")] for when in ("before", "after"))
        return difference(difference(*before), difference(*after))

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
        errors = share(list(1 - rows.frame["after_true"]), self._examples("noisy"))
        return difference(rows._share("after_noisy"), scaled(errors, 1 / (self.sizes.classes - 1)))

    def _examples(self, what: str) -> int | None:
        """How many distinct (data_seed, example). The test set is the same for every data_seed."""
        if what == "test":
            return self.test
        data_seeds = int(self.frame["data_seed"].nunique(dropna=False))
        return data_seeds * {"clean": self.sizes.clean, "noisy": self.sizes.noisy}[what]


def tied_settings(observations: Observations) -> list[Setting]:
    """The settings of example-tied dropout, with all (p_gen, p_mem)."""
    return observations.settings("evaluate", dropout=("example_tied",), without=tuple(CELL))


def nearest_cells(observations: Observations) -> list[Setting]:
    """The settings, each with the trainings of one (p_gen, p_mem): the paper's cell, or the nearest one that was run."""
    settings = []
    for setting in tied_settings(observations):
        cells = {t: (observations.trials[t]["p_gen"], observations.trials[t]["p_mem"]) for t in setting.trials}
        nearest = min(set(cells.values()), key=lambda c: (abs(c[0] - CELL["p_gen"]) + abs(c[1] - CELL["p_mem"]), c))
        one = setting.only([t for t, cell in cells.items() if cell == nearest])
        settings.append(replace(one, config={**one.config, "p_gen": nearest[0], "p_mem": nearest[1]}))
    return settings


def tied_rows(one: Observed) -> TiedRows:
    """The accuracies of a setting's trainings. Many estimates ask for the same ones."""
    return one.observations.once(("tied rows", *one.setting.analyses.values()), lambda: _tied_rows(one))


def _tied_rows(one: Observed) -> TiedRows:
    frame = accuracies(one.rows("evaluation"))
    for field in ("p_gen", "p_mem", "seed", "data_seed"):
        frame[field] = frame["trial"].map({t: config.get(field) for t, config in one.configs.items()})
    wrong = str(one.setting.config.get("wrong", "uniform"))
    return TiedRows(frame, one.sizes, one.test_size, wrong)


def sql_of(*settings: Setting) -> str:
    """The SQL that returns the accuracies of settings. Numbers of some trainings hand over the setting of these alone."""
    analyses = [a for setting in settings for a in setting.analyses.values()]
    return (
        "SELECT trial, p_gen, p_mem, seed, data_seed, mode, rescale, clean_acc, noisy_acc, test_acc, noisy_true_acc "
        f"FROM evaluation JOIN trials USING (trial) WHERE rescale = 'none' AND {among('analysis', analyses)} ORDER BY ALL"
    )


def memorized(one: Observed) -> tuple[TiedRows, str]:
    """(the accuracies of the trainings that memorized, a note about the others)."""
    rows = tied_rows(one)
    kept, said = one.observations.testable(rows.trials)
    return rows.only(kept), said


# A claim about Table 1's cell, or the nearest one
of_cell = partial(
    Claim, stage="evaluate", settings=nearest_cells, trainings=lambda part: {"dropout": "example_tied", **CELL}
)
