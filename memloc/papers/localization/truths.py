"""The two truths: are they valid, and which methods find the true neurons?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.settings import Setting
from memloc.papers.charts import Dots, Table, over
from memloc.papers.claims import Case, Claim, Estimates, here
from memloc.papers.deciding import ABOVE_HALF, Estimate, decided
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.localization.ranking import CONTROLS, by_training, controls_of, items_of, pairs, ranked
from memloc.papers.paper import Judged, Section
from memloc.stages.locate.config import METHODS
from memloc.statistics import in_brackets
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import Region
from memloc.statistics.trainings import OverTrainings

VALID = Region(hi=0.6)  # what every control must stay below
NAMED = tuple(method.name for method in METHODS if not method.control)


@dataclass(frozen=True)
class Judge:
    """A truth. id: of its claims. column: that of `localization` on which methods are judged. dropout: of its trainings."""

    id: str
    truth: str
    title: str
    column: str
    judged_on: str
    dropout: str

    def settings(self, observations: Observations) -> list[Setting]:
        """Those of a store that have analyses with this truth."""
        every = observations.settings("locate", dropout=(self.dropout,))
        return [setting for setting in every if setting.variant.get("truth") == self.truth]

    def estimates(self, case: Case, controls: bool) -> Estimates:
        """The mean AUC of each control, or of each method that is none."""
        found: dict[str, Estimate | None] = {}
        known = controls_of(case)
        for name, quantity in ranked(by_training(case, self.column)).items():
            if (name in known) == controls:
                compared = f"{self.judged_on} of {name}, mean over items, then over trainings"
                sql = case.select("localization", "trial, example", f"method = '{name}' AND noisy")
                found[name] = decided(quantity, VALID if controls else ABOVE_HALF, compared, case.trials, sql)
        return found

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Controls find nothing; methods find something. A plugin's methods are parts like memloc's."""
        rates = (0.0, 0.0) if self.truth == "injected" else (0.0, 1.0)
        valid = Claim(
            f"{self.id}V", self.truth, f"the truth {self.truth} is valid: no control finds the neurons", "locate",
            lambda case: self.estimates(case, True), here(dict.fromkeys(CONTROLS)), rates, False,
            settings=self.settings, trainings=lambda part: {"dropout": self.dropout},
        )  # fmt: skip
        find = Claim(
            f"{self.id}M", self.truth, "methods find the neurons that hold an example", "locate",
            lambda case: self.estimates(case, False), here(dict.fromkeys(NAMED)), rates, False,
            settings=self.settings, trainings=lambda part: {"dropout": self.dropout},
        )  # fmt: skip
        return valid, find

    def dots(self, subject: Subject) -> Drawn:
        """The ranking; for a truth that clean examples have too, these beside the mislabeled ones as a control."""
        order = ranked(by_training(subject, self.column))
        if not order:
            return []
        values: dict[str, list[OverTrainings | None]] = {"memorized": list(order.values())}
        clean = ranked(by_training(subject, self.column, noisy=False))
        if clean:
            values["clean (control)"] = [clean.get(name) for name in order]
        known = controls_of(subject)
        names = [f"{name} (control)" if name in known else name for name in order]
        sql = subject.select("localization", "method, trial, example")
        return [Dots(subject.titled(self.title), names, values, self.judged_on, sql, (0.0, 1.0))]

    def table(self, subject: Subject) -> Drawn:
        """What else the rows say of each method, as means over trainings."""
        columns = ("recall", "recall_2k", "auc", "auc_live", "auc_within", "auc_plain", "k_star", "own_flip", "own_true",
                   "clean_drop", "noisy_drop", "test_drop", "seconds")  # fmt: skip
        tables = {name: by_training(subject, name) for name in columns}
        shown = [name for name in columns if len(tables[name].columns)]
        noisy, clean = (by_training(subject, self.column, noisy=which) for which in (True, False))
        excess = (noisy - clean).dropna(axis=1, how="all")  # nothing without clean examples
        order, beyond = ranked(noisy), ["memorized − clean"] if len(excess.columns) else []
        rows = [
            [name, *(_difference(excess, name) for _ in beyond), *(_mean(tables[column].get(name)) for column in shown)]
            for name in order
        ]
        head = ["method", *beyond, *shown]
        rows.append(["skipped items", _skipped(subject), *[""] * (len(head) - 2)])
        return [Table(subject.titled(f"{self.title}: beside"), head, rows, subject.select("localization"))]

    def untold(self, subject: Subject) -> Drawn:
        """The pairs that the items do not tell apart, and how many items would."""
        items = items_of(subject, self.column)
        every = pairs(by_training(subject, self.column), items, controls_of(subject))
        found = [pair for pair in every if not pair.told]
        rows = [
            [pair.one, pair.other, in_brackets(pair.difference.printed, 3), str(pair.items), str(pair.needed or "–")]
            for pair in found
        ]
        head = ["method", "other", "difference [95 %]", "items", "items that would tell them"]
        return [Table(subject.titled("Not told apart"), head, rows, subject.select("localization"))] if rows else []

    def exhibit(self, id: str, title: str, shows: str, draw: object) -> Exhibit:
        return Exhibit(
            id, self.title, title, self.truth, shows, "memloc sweep locate", self.settings,
            per_setting(draw), claims=[], memorizing=False, of_paper=False,  # type: ignore[arg-type]
        )  # fmt: skip

    @property
    def ranking(self) -> Exhibit:
        shows = "Mean AUC with t intervals over trainings. A truth is valid if every control stays below 0.60."
        return self.exhibit(f"ranking_{self.truth}", "Which method finds the neurons", shows, self.dots)

    @property
    def section(self) -> Section:
        beside = self.exhibit(f"beside_{self.truth}", "What the rankings leave out", "Means over trainings.", self.table)
        shows = "Paired differences over trainings. The last column holds the spread between trainings as it is."
        untold = self.exhibit(f"untold_{self.truth}", "Which methods cannot be told apart", shows, self.untold)
        return Section(self.title, self.truth, self.claims, [self.ranking, beside, untold], self.sentence)

    def sentence(self, judged: Judged) -> str:
        """`The truth injected is valid. Of the methods, fisher 0.91, … come first.`"""
        controls, methods = (judged.get(f"{self.id}{kind}", {}) for kind in "VM")
        if not controls or not methods:
            return ""
        wrong = [name for name, j in controls.items() if j.verdict != "holds"]
        said = f"not shown to be valid ({', '.join(wrong)})" if wrong else "valid"
        best = sorted(methods.items(), key=lambda item: -(item[1].ours or 0.0))[:3]
        named = ", ".join(f"{name} {j.ours:.2f}" for name, j in best if j.ours is not None)
        return f"The truth {self.truth} is {said}. {self.judged_on}: {named}."


def _mean(values: object) -> str:
    known = [] if values is None else [float(v) for v in values if v == v]  # type: ignore[attr-defined]
    return f"{mean_of_trainings(known).value:.3f}" if known else "–"


def _difference(excess: pd.DataFrame, name: str) -> str:
    """By how much the AUC of memorized items is above that of clean ones, over trainings that have both."""
    quantity = over(excess[name], mean_of_trainings) if name in excess.columns else None
    return "–" if quantity is None else in_brackets(quantity.printed, 3)


def _skipped(subject: Subject) -> str:
    rows = subject.rows("localization")
    return f"{rows[rows['noisy']]['skipped'].mean():.3f}" if len(rows) else "–"


INJECTED = Judge("I", "injected", "Injected items", "spec_auc", "AUC against the channels of other items", "none")
TIED = Judge("T", "tied", "Example-tied masks", "auc", "AUC against the channels of a decoy", "example_tied")
SECTIONS: Sequence[Section] = (INJECTED.section, TIED.section)
