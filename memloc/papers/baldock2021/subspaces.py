"""K1: true labels of mislabeled examples that subspaces of hidden layers still give (MASC, Ketha & Ramaswamy)."""

from __future__ import annotations

import pandas as pd

from memloc.analysis.observed import Observed, trials_of
from memloc.models.probe_sites import INPUT, SOFTMAX
from memloc.papers.charts import Dots, share_over
from memloc.papers.claims import Case, Claim, of_stage
from memloc.papers.deciding import ABOVE_HALF, Estimate, decided, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.statistics.quantities import share

KINDS = {"masc": "Nearest subspaces", "knn": "Nearest neighbours"}
SETS = {"clean": "clean_acc", "noisy": "noisy_acc", "noisy, true label": "noisy_true_acc"}


def sql_of(one: Observed) -> str:
    """Returns what the probes of the final networks say."""
    return (
        "SELECT trial, depth, site, probe, dim, clean_acc, noisy_acc, noisy_true_acc, probes.test_acc FROM probes "
        f"JOIN trials USING (trial) WHERE epoch = trials.epochs AND {one.where}"
    )


def final_rows(one: Observed) -> pd.DataFrame:
    """The rows of the last epoch, with sites from input to output."""
    rows = one.rows("probes")
    ends = rows["trial"].map({trial: int(config["epochs"]) for trial, config in one.configs.items()})
    return rows[rows["epoch"] == ends]


def readable(case: Case) -> Estimate:
    """K1: at the best hidden layer, subspaces give more than half of the mislabeled examples their true label.

    The layer is the best one over all trainings.
    """
    rows, sql = final_rows(case), sql_of(case)
    masc = rows[(rows["probe"] == "masc") & rows["noisy_true_acc"].notna()]
    hidden = masc[~masc["site"].isin((INPUT, SOFTMAX))]
    if hidden.empty:
        return untestable("no probe says how often mislabeled examples get their true label", trials_of(rows), sql)
    means = masc.groupby("site", sort=False)["noisy_true_acc"].mean()
    best = str(hidden.groupby("site", sort=False)["noisy_true_acc"].mean().idxmax())
    there = hidden[hidden["site"] == best].sort_values("trial")
    others = f"at {INPUT} {means[INPUT]:.3f}, at {SOFTMAX} {means[SOFTMAX]:.3f}"
    compared = (
        f"share of mislabeled examples that get their true label at {best}, the best of {len(means) - 2} layers ({others})"
    )
    n = case.only(trials_of(there)).examples("noisy")
    return decided(share(list(there["noisy_true_acc"]), n), ABOVE_HALF, compared, trials_of(there), sql)


def _by_site(subject: Subject) -> Drawn:
    """What each probe gives of each set, a chart for each kind of probe."""
    rows, charts = final_rows(subject), []
    sites = list(dict.fromkeys(rows["site"]))
    for kind, title in KINDS.items():
        values = {}
        for name, column in SETS.items():
            of_kind = rows[rows["probe"] == kind].pivot(index="trial", columns="site", values=column)
            examples = subject.examples_of(name.partition(",")[0])
            values[name] = [share_over(of_kind[site].astype(float), examples) for site in sites]
        known = {name: of for name, of in values.items() if any(one is not None for one in of)}
        if known:
            charts.append(Dots(subject.titled(title), sites, known, "share of the examples", sql_of(subject), (0.0, 1.0)))
    return charts


CLAIMS = (
    Claim(
        "K1",
        "Ketha & Ramaswamy",
        "true labels of mislabeled examples can be read from hidden layers of a network that predicts the wrong ones",
        "depth",
        readable,
    ),
)
EXHIBITS = (
    Exhibit(
        "probes",
        "Probes",
        "What can be read at each depth",
        "Ketha & Ramaswamy",
        "Clean examples get their label, noisy ones their wrong label or their true one. Subspaces are fitted without the "
        "fold of the example that they judge; with it no true label would ever be found.",
        "memloc sweep depth",
        of_stage("depth"),
        per_setting(_by_site),
        claims=("K1",),
        of_paper=False,
    ),
)
