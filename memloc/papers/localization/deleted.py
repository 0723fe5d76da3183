"""No truth: how many neurons must be closed until the label is lost, and what is lost with it?"""

from __future__ import annotations

from memloc.analysis.observations import Observations
from memloc.analysis.settings import Setting
from memloc.papers.agreement import atlas
from memloc.papers.charts import Dots, Table, over
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.localization.ranking import closings, controls_of, ranked
from memloc.papers.paper import Section
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.scales import REAL

LOST = ("clean_drop", "noisy_drop", "test_drop")


def settings(observations: Observations) -> list[Setting]:
    """Those of a store with deletions."""
    every = observations.settings("locate", dropout=("none", "standard"))
    return [setting for setting in every if setting.variant.get("truth") == "deleted"]


def drawn(subject: Subject) -> Drawn:
    """The number of closings by method, and what is lost at it and at 5 and 10."""
    rows = subject.rows("localization")
    rows = rows[rows["noisy"] & ~rows["skipped"]]
    if rows.empty:
        return []
    rows = rows.assign(closings=closings(rows))
    at_star = rows[rows["k"] == rows["closings"]].drop_duplicates(["trial", "example", "method"])
    counts = at_star.pivot_table(index="trial", columns="method", values="closings", aggfunc="mean")
    order = list(ranked(-counts, REAL))
    values = {"closings": [over(counts[name], mean_of_trainings) for name in order]}
    sql = subject.select("localization", "method, trial, example, k")
    known = controls_of(subject)
    names = [f"{name} (control)" if name in known else name for name in order]
    dots = Dots(subject.titled("Until the label is lost"), names, values, "closed neurons", sql)
    head = ["method", *(f"{name} at {k}" for k in ("k*", "5", "10") for name in LOST), "true label at k*", "censored"]
    cells = []
    for name in order:
        mine = {"k*": at_star[at_star["method"] == name]}
        mine |= {str(k): rows[(rows["method"] == name) & (rows["k"] == k)] for k in (5, 10)}
        lost = [f"{mine[k][column].mean():.3f}" if len(mine[k]) else "–" for k in mine for column in LOST]
        star = mine["k*"]
        cells.append([name, *lost, f"{star['own_true'].mean():.3f}", f"{star['censored'].mean():.3f}"])
    return [dots, Table(subject.titled("What is lost with it"), head, cells, sql)]


EXHIBIT = Exhibit(
    "deleted",
    "Deletion",
    "How many neurons hold the label, and what else they hold",
    "deleted",
    "Neurons are closed in each method's order until the label is lost. A deletion that ends at 64 counts as 64.",
    "memloc sweep locate",
    settings,
    per_setting(drawn),
    memorizing=False,
    of_paper=False,
)
SECTION = Section("Deletion", "deleted", [], [EXHIBIT, atlas(settings, "memloc sweep locate")], lambda judged: "")
