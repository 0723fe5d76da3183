"""B1, B2: at which depth clean and mislabeled examples are resolved, and whether that finds the mislabeled ones."""

from __future__ import annotations

import pandas as pd

from memloc.analysis.observed import Observed, by_example, trials_of, two_sided
from memloc.papers.charts import Dots
from memloc.papers.claims import Case, Claim, Estimates, here, of_stage
from memloc.papers.deciding import ABOVE_HALF, POSITIVE, Estimate, decided, estimated, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.statistics import in_brackets
from memloc.statistics.quantities import accuracy, difference, difference_of_means, mean_auc
from memloc.statistics.trainings import OverTrainings

DATASETS = ("cifar10", "fashion_mnist", "svhn")  # of the paper
NEVER = "not resolved"
ONE_SIDED = "no training has depths of both clean and mislabeled examples at the last epoch"


def sql_of(one: Observed) -> str:
    """Returns the depths of a setting's examples in the final networks."""
    return (
        "SELECT trial, example, noisy, depth, agreement, input_agreement FROM depth "
        "JOIN examples USING (trial, example) JOIN trials USING (trial) "
        f"WHERE epoch = trials.epochs AND {one.where} ORDER BY trial, example"
    )


def rows_of(one: Observed) -> pd.DataFrame:
    """Its rows, with data_seed, of the trainings that have clean and mislabeled examples."""
    frame = two_sided(one.observations.frame(sql_of(one)), "noisy")
    return one.observations.with_data_seed(frame)


def later(case: Case) -> Estimate:
    """B1: the mean depth of the mislabeled examples less that of the others is above 0."""
    frame, sql = rows_of(case), sql_of(case)
    if frame.empty:
        return untestable(ONE_SIDED, [], sql)
    values, noisy = by_example(frame, "depth", "noisy")
    quantity = difference_of_means(values, noisy)
    if quantity is None:
        return untestable(ONE_SIDED, trials_of(frame), sql)
    means = frame.groupby("noisy")["depth"].mean()
    compared = (
        f"mean prediction depth of mislabeled examples ({means[True]:.2f}) less that of the others ({means[False]:.2f})"
    )
    return decided(quantity, POSITIVE, compared, trials_of(frame), sql)


def finding(case: Case) -> Estimates:
    """B2: AUC of depth, of neighbours at all probes, and of neighbours at the input alone: the control.

    `gain`: depth less the control. Examples that plain pixels find tell nothing of a network.
    """
    frame, sql = rows_of(case), sql_of(case)
    if frame.empty:
        return dict.fromkeys(PARTS, untestable(ONE_SIDED, [], sql))
    trials, aucs = trials_of(frame), aucs_of(frame)
    control = in_brackets(aucs["input"].printed, 3)
    n = int(frame.groupby(["data_seed", "example"]).ngroups)
    estimates = {
        part: decided(aucs[part], ABOVE_HALF, f"AUC over {n} examples; plain pixels have {control}", trials, sql)
        for part in ("depth", "neighbours")
    }
    estimates["input"] = estimated(
        aucs["input"], None, f"AUC over {n} examples of neighbours among plain pixels: the control", trials, sql
    )
    gain = difference(aucs["depth"], aucs["input"])
    estimates["gain"] = decided(gain, POSITIVE, "AUC of depth less that of neighbours among plain pixels", trials, sql)
    return estimates


PARTS = ("depth", "neighbours", "input", "gain")


def aucs_of(frame: pd.DataFrame) -> dict[str, OverTrainings]:
    """{part: AUC}, higher scores for mislabeled examples. frame: as `rows_of`; not empty."""
    columns = {"depth": ("depth", 1), "neighbours": ("agreement", -1), "input": ("input_agreement", -1)}
    aucs = {}
    for part, (column, sign) in columns.items():
        values, noisy = by_example(frame, column, "noisy")
        auc = mean_auc(sign * values, noisy)
        assert auc is not None  # every training has both sets
        aucs[part] = auc
    return aucs


def sites_of(one: Observed) -> list[str]:
    """The probes from input to output."""
    rows = one.rows("probes")
    return list(dict.fromkeys(rows["site"]))


def shares_by_depth(one: Observed, frame: pd.DataFrame, noisy: bool) -> list[OverTrainings]:
    """For each probe, and for none at all, the share of the examples of a set that are resolved there."""
    rows, sites = frame[frame["noisy"] == noisy], sites_of(one)
    n = rows.groupby(["data_seed", "example"]).ngroups
    at = [rows["depth"] == depth for depth in range(len(sites) + 1)]
    return [accuracy(list(here.groupby(rows["trial"]).mean()), n) for here in at]


def _by_depth(subject: Subject) -> Drawn:
    """The share of each set that is resolved at each probe; and the AUCs."""
    frame, sql = rows_of(subject), sql_of(subject)
    if frame.empty:
        return []
    names = [*sites_of(subject), NEVER]
    values = {name: shares_by_depth(subject, frame, noisy) for name, noisy in (("clean", False), ("noisy", True))}
    aucs = aucs_of(frame)
    said = {
        "depth": "prediction depth",
        "neighbours": "neighbours at all probes",
        "input": "pixels (control)",
    }
    rows = [said[part] for part in aucs]
    return [
        Dots(subject.titled("Where examples are resolved"), names, values, "share of the examples", sql, (0.0, 1.0)),
        Dots(subject.titled("Finding mislabeled examples"), rows, {"AUC": list(aucs.values())}, "AUC", sql),
    ]


CLAIMS = (
    Claim("B1", "Baldock et al.", "mislabeled examples are resolved in later layers than the others", "depth", later),
    Claim(
        "B2",
        "Baldock et al.",
        "prediction depth finds mislabeled examples, and more than the images alone tell",
        "depth",
        finding,
        here(dict.fromkeys(PARTS)),
    ),
)
EXHIBITS = (
    Exhibit(
        "depth",
        "Prediction depth",
        "The depth at which examples are resolved, by label",
        "Baldock et al.",
        "An example is resolved at the first layer from which its nearest neighbours vote as the network predicts. The "
        "paper finds that mislabeled examples are resolved late. Neighbours among plain pixels are the control.",
        "memloc sweep depth",
        of_stage("depth"),
        per_setting(_by_depth),
        Wanted(DATASETS),
        claims=("B1", "B2"),
    ),
)
