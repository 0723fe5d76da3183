"""Accuracies of example-tied networks before and after dropping, over trainings (paper §6.2).

`before` is mode own on the training set and scaled on test; `after` is mode dropped, without rescaling.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed
from memloc.analysis.settings import SEEDS, Setting
from memloc.papers.claims import Claim
from memloc.statistics.quantities import difference, scaled, share
from memloc.statistics.trainings import OverTrainings

SETS = ("clean", "noisy", "test")
CELL = {"p_gen": 0.3, "p_mem": 0.2}  # of Table 1 for CIFAR-10; the paper does not say which one Table 1 has


@dataclass(frozen=True)
class TiedRows:
    """Trainings of one setting. frame: a row each: trial, `before_clean` … `after_test`, `after_true`, p_gen, p_mem, seeds.

    one: the same trainings.
    """

    frame: pd.DataFrame
    one: Observed

    def having(self, frame: pd.DataFrame) -> TiedRows:
        """The trainings of some of its rows."""
        return TiedRows(frame, self.one.only(list(frame["trial"])))

    def known(self, *columns: str) -> TiedRows:
        """Those that have all these accuracies."""
        return self.having(self.frame.dropna(subset=list(columns)))

    @property
    def trials(self) -> list[str]:
        return self.one.trials

    @property
    def sql(self) -> str:
        return sql_of(self.one.setting)

    def share(self, column: str) -> OverTrainings:
        """An accuracy, which all of them have; there is at least one."""
        return share(list(self.frame[column]), self.one.examples(column.partition("_")[2]))

    def residual(self) -> OverTrainings | str:
        """Residual memorization after dropping, which was evaluated for all of them; or why it is not known.

        It is the share of noisy examples that get their given label, less what a network without memorization would have: of
        its errors on them, one in K − 1 is the given label, if wrong labels were drawn uniformly.
        """
        classes, wrong = self.one.sizes.classes, self.one.setting.config.get("wrong", "uniform")
        if wrong != "uniform" or classes < 3:
            return "residual memorization is defined for wrong labels drawn uniformly among several classes"
        if self.frame["after_true"].isna().any():
            return "how many noisy examples get their true label is not known (noisy_true_acc): run evaluate again"
        errors = share(list(1 - self.frame["after_true"]), self.one.examples("noisy"))
        return difference(self.share("after_noisy"), scaled(errors, 1 / (classes - 1)))


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
    key = ("tied rows", *one.setting.analyses.values())
    return TiedRows(one.observations.once(key, lambda: _accuracies(one)), one)


def _accuracies(one: Observed) -> pd.DataFrame:
    """One row per training, columns as in `TiedRows`; NaN where a mode was not evaluated.

    after_true: the share of the noisy examples that are predicted as their true class; NaN in older evaluations.
    """
    rows = one.rows("evaluation")
    by_mode = {mode: of.set_index("trial") for mode, of in rows[rows["rescale"] == "none"].groupby("mode")}
    frame = pd.DataFrame(index=pd.Index(one.trials, name="trial"))
    columns = {f"before_{what}": ("scaled" if what == "test" else "own", f"{what}_acc") for what in SETS}
    columns |= {f"after_{what}": ("dropped", f"{what}_acc") for what in SETS} | {"after_true": ("dropped", "noisy_true_acc")}
    for name, (mode, column) in columns.items():
        frame[name] = by_mode[mode][column].astype(np.float64) if mode in by_mode else np.nan
    for field in (*CELL, *SEEDS):
        frame[field] = [config.get(field) for config in one.configs.values()]
    return frame.reset_index()


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
    return rows.having(rows.frame[rows.frame["trial"].isin(kept)]), said


# A claim about Table 1's cell, or the nearest one
of_cell = partial(
    Claim, stage="evaluate", settings=nearest_cells, trainings=lambda part: {"dropout": "example_tied", **CELL}
)
