"""Which trainings memorized: accuracy on the mislabeled examples, in evaluation mode, at the last epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.settings import Setting
from memloc.analysis.testable import testable


class Source(NamedTuple):
    """A table that says whether a training memorized: the stage that fills it, which of its rows, the accuracy in them."""

    stage: str | None
    rows: str
    accuracy: str


DROPOUTS = ("none", "standard", "sparse", "example_tied")
OF_MODE = "mode = CASE WHEN dropout = 'example_tied' THEN 'own' ELSE 'plain' END"
SOURCES = {
    "evaluation": Source("evaluate", OF_MODE, "any_value(noisy_acc)"),
    "rewind": Source("rewind", "epoch = trials.epochs", "any_value(noisy_acc)"),
    "flips": Source("flips", "noisy", "avg(eligible::INT)"),
    "epochs": Source(None, "epoch = trials.epochs", "any_value(noisy_acc)"),
}


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
        return {trial: accuracy for trial, (_, accuracy) in self._memorized.items()}

    @cached_property
    def _memorized(self) -> dict[str, tuple[str, float]]:
        """{trial: (the table that its accuracy comes from, that accuracy)}."""
        known: dict[str, tuple[str, float]] = {}
        sources = {"evaluation": self._from_evaluation, "rewind": self._from_rewind, "flips": self._from_flips}
        for table, accuracies in sources.items():
            if len(known) < len(self.trials):
                known = {trial: (table, accuracy) for trial, accuracy in accuracies().items()} | known
        return known

    def memorized_sql(self, trials: Sequence[str]) -> str:
        """The SQL that returns what `memorized` has of trainings, and the table that it is from.

        A training of which it is not known has the row of the last epoch's training pass.
        """
        of_table: dict[str, list[str]] = {}
        for trial in trials:
            of_table.setdefault(self._memorized.get(trial, ("epochs", 0.0))[0], []).append(trial)
        selects = [self._sql_of(table, of_table[table]) for table in SOURCES if table in of_table]
        return f"{' UNION ALL '.join(selects)} ORDER BY ALL"

    def _sql_of(self, table: str, trials: Sequence[str]) -> str:
        stage, rows, accuracy = SOURCES[table]
        where = among("trial", trials)
        if stage is not None:
            settings = self.settings(stage, dropout=DROPOUTS if stage == "evaluate" else ("none",))
            where = among("analysis", [s.analyses[t] for s in settings for t in trials if t in s.analyses])
        return (
            f"SELECT trial, '{table}' AS source, {accuracy} AS noisy_acc FROM {table} JOIN trials USING (trial) "
            f"WHERE {rows} AND {where} GROUP BY trial"
        )

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
        for dropout, mode in ((DROPOUTS[:-1], "plain"), (DROPOUTS[-1:], "own")):
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
