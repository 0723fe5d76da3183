"""Which trainings memorized: accuracy on the mislabeled examples, in evaluation mode, at the last epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.settings import Setting
from memloc.analysis.testable import testable


class Memorizing(ABC):
    """Says which trainings of a store memorized, from the rows of its settings."""

    @cached_property
    @abstractmethod
    def trials(self) -> dict[str, dict[str, Any]]:
        """{trial: its configuration}."""

    @abstractmethod
    def frame(self, sql: str) -> pd.DataFrame:
        """The rows of a SELECT."""

    @abstractmethod
    def settings(self, stage: str, *, dropout: Sequence[str] = ("none",), atypical: bool = False) -> list[Setting]:
        """The settings that have analyses of a stage."""

    @abstractmethod
    def rows(self, table: str, setting: Setting) -> pd.DataFrame:
        """The rows of a setting's analyses."""

    @cached_property
    def memorized(self) -> dict[str, float]:
        """{trial: evaluation-mode accuracy on its mislabeled examples at the last epoch}, where it is known.

        It comes from `evaluation` (mode plain; own with example-tied dropout); else from `rewind` (rewinding to T is the
        network itself); else from `flips.eligible` of the noisy examples of the sample.
        """
        known = self._from_evaluation()
        for accuracies in (self._from_rewind, self._from_flips):
            if len(known) < len(self.trials):
                known = accuracies() | known
        return known

    @cached_property
    def memorized_atypical(self) -> dict[str, float]:
        """The same for the examples with a low C-score, from `rewind`."""
        return self._from_rewind(atypical=True)

    def testable(self, trials: Sequence[str], *, atypical: bool = False) -> tuple[list[str], str]:
        """As `testable.testable`, for this store."""
        known, passed = (self.memorized_atypical, {}) if atypical else (self.memorized, self._passed)
        return testable(trials, known, passed)

    @cached_property
    def _passed(self) -> dict[str, float]:
        """{trial: noisy accuracy in the last epoch's training pass}."""
        sql = "SELECT trial, arg_max(noisy_acc, epoch) AS last FROM epochs WHERE NOT isnan(noisy_acc) GROUP BY ALL"
        return by_trial(self.frame(sql), "last")

    def _from_evaluation(self) -> dict[str, float]:
        known: dict[str, float] = {}
        for dropout, mode in ((("none", "standard", "sparse"), "plain"), (("example_tied",), "own")):
            for setting in self.settings("evaluate", dropout=dropout):
                rows = self.rows("evaluation", setting)
                known.update(by_trial(rows[rows["mode"] == mode], "noisy_acc"))
        return known

    def _from_rewind(self, atypical: bool = False) -> dict[str, float]:
        known: dict[str, float] = {}
        for setting in self.settings("rewind", atypical=atypical):
            rows = self.rows("rewind", setting)
            last = rows["trial"].map({t: self.trials[t]["epochs"] for t in setting.trials})
            known.update(by_trial(rows[rows["epoch"] == last], "noisy_acc"))
        return known

    def _from_flips(self) -> dict[str, float]:
        searched = [analysis for setting in self.settings("flips") for analysis in setting.analyses.values()]
        if not searched:
            return {}
        where = among("analysis", searched)
        sql = f"SELECT trial, avg(eligible::INT) AS share FROM flips WHERE noisy AND {where} GROUP BY trial"
        return by_trial(self.frame(sql), "share")


def by_trial(frame: pd.DataFrame, column: str) -> dict[str, Any]:
    """{trial: value} of the rows that have a value."""
    return {t: v for t, v in zip(frame["trial"], frame[column].tolist(), strict=True) if not pd.isna(v)}
