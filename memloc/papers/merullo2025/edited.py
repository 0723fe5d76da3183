"""The edits of a setting's trainings, from all their analyses of stage `edit`. An edit has one row, whoever asked for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observed import Observed
from memloc.statistics.quantities import difference, share
from memloc.statistics.trainings import OverTrainings

RHO = 0.9  # at which edits are judged; never at the best
SETS: Mapping[str, str] = {"clean": "clean_acc", "noisy": "noisy_acc", "true": "noisy_true_acc", "test": "test_acc"}
USUAL: Mapping[str, object] = {"groups": "inner", "budget": "energy", "bn": "final", "images": "train"}
KEYS = ("trial", "epoch", "groups", "rank", "rho", "budget", "bn", "images")
COLUMNS = ("pairs", "pairs_kept", "energy_kept", *SETS.values())


@dataclass(frozen=True)
class Edits:
    """frame: columns KEYS and COLUMNS, a row per training and edit. one: the setting. sql: returns the rows."""

    frame: pd.DataFrame
    one: Observed
    sql: str

    @classmethod
    def of(cls, one: Observed) -> Edits:
        """Those of a setting, on the mislabeled examples, without masks."""
        sql = _sql(one.trials)
        frame = one.observations.once(("edits", sql), lambda: one.observations.frame(sql))
        return cls(frame[["trial", *frame.columns.drop("trial")]], one, sql)

    def only(self, **wanted: object) -> Edits:
        """Those with these values of KEYS."""
        frame = self.frame
        for key, value in wanted.items():
            frame = frame[frame[key] == value]
        return Edits(frame, self.one, self.sql)

    def usual(self, **wanted: object) -> Edits:
        """Those of the inner groups, at the rank's own energy, with the final statistics and the training images.

        wanted: values of KEYS; these come first.
        """
        return self.only(**{**USUAL, **wanted})

    @property
    def last(self) -> Edits:
        """Those of the last checkpoint."""
        ends = self.frame["trial"].map({t: config["epochs"] for t, config in self.one.configs.items()})
        return Edits(self.frame[self.frame["epoch"] == ends], self.one, self.sql)

    @property
    def judged(self) -> Edits:
        """Those of the last checkpoint at the ρ at which edits are judged."""
        return self.last.only(rho=RHO)

    @property
    def as_it_is(self) -> Edits:
        """The checkpoints without an edit."""
        return self.only(rank="none")

    @property
    def trials(self) -> list[str]:
        return sorted(set(self.frame["trial"]))

    def examples_of(self, of_set: str) -> Callable[[tuple[str, ...]], int | None]:
        """From some of the trainings: how many distinct examples of a set these have; None: it is not known."""
        return self.one.examples_of("noisy" if of_set == "true" else of_set)

    def values(self, of_set: str) -> pd.Series[float]:
        """{trial: accuracy on a set}, of edits of which each training has one."""
        return self.frame.set_index("trial")[SETS[of_set]].astype("float64").dropna().sort_index()

    def share(self, of_set: str) -> OverTrainings | None:
        """The accuracy on a set, over the trainings. None where no training has it."""
        values = self.values(of_set)
        return None if values.empty else share(list(values), self.examples_of(of_set)((*values.index,)))

    def less(self, other: Edits, of_set: str) -> tuple[list[str], OverTrainings | None]:
        """(trainings, these edits' accuracy less that of the others), of the trainings that have both."""
        mine, theirs = self.values(of_set), other.values(of_set)
        both = sorted({*mine.index} & {*theirs.index})
        if not both:
            return [], None
        n = self.examples_of(of_set)((*both,))
        return both, difference(share(list(mine[both]), n), share(list(theirs[both]), n))


def _sql(trials: Sequence[str]) -> str:
    numbers = ", ".join(f"arg_min({name}, analysis) AS {name}" for name in COLUMNS)
    return (
        f"SELECT {', '.join(KEYS)}, {numbers} FROM edits JOIN analyses USING (analysis, trial) "
        f"WHERE {among('trial', trials)} AND json_extract_string(config, 'mask_mode') IS NULL "
        "AND coalesce(json_extract_string(config, 'memorized'), 'labels') = 'labels' GROUP BY ALL ORDER BY ALL"
    )
