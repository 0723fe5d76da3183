"""G1, G4, G5, Figures 1, 10 and 12–14: the norms of clean and of noisy gradients (paper §4.1, A.1, A.3).

Each training weighs the same. Norms are averaged over epochs first, as in the figures. Ratios are compared as logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed, trials_of
from memloc.analysis.settings import DATASETS, Setting
from memloc.papers.charts import Curves, Dots, by_training, decades, line, over
from memloc.papers.claims import RATES, Case, Claim, grid, here, of_stage
from memloc.papers.deciding import Estimate, decided, estimated, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.judgement import Judgement
from memloc.statistics import in_brackets
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import FAMILYWISE, Region, decide_groups
from memloc.statistics.scales import LOG
from memloc.statistics.trainings import OverTrainings, pooled

CHECKPOINT = "checkpoint"  # the other place where gradients are taken; ids of its numbers end with it
SETS = ("clean", "noisy", "total", "control")
NORM = "gradient norm per √parameter"

ALIKE = Region(0.5, 2.0)  # G1: ratios of norms that are "about the same"
CANCELS = Region(hi=1.0, open_hi=True)  # G4: the norm of the sum over the smaller norm
MAGNITUDE = Region(5.0, 20.0)  # G5, "an order of magnitude"

# --- estimates --------------------------------------------------------------------------------------------------------


def gradients(one: Observed) -> pd.DataFrame:
    """Rows of `gradient_layers`: trial, epoch, layer, norms, cosines."""
    return one.rows("gradient_layers")


def sql_of(one: Observed) -> str:
    """The SQL that returns these rows."""
    return one.select("gradient_layers", "trial, epoch, layer")


def norms(one: Observed) -> pd.DataFrame:
    """Index (trial, layer), columns norm_clean, norm_noisy, norm_control, norm_rest, norm_total: means over epochs.

    Only epochs count that all trainings have, if there are any. Trainings that diverged are left out: some of their norms
    are not finite.
    """
    return one.observations.once(("norms", *sorted(one.setting.analyses.values())), lambda: _norms(gradients(one)))


def _norms(frame: pd.DataFrame) -> pd.DataFrame:
    columns = [f"norm_{name}" for name in (*SETS, "rest")]
    finite = np.isfinite(frame[columns].to_numpy(dtype=np.float64)).all(axis=1)
    kept = frame[~frame["trial"].isin(set(frame["trial"][~finite]))]
    epochs = [set(of) for _, of in kept.groupby("trial")["epoch"]]
    common = set.intersection(*epochs) if epochs else set()
    same = kept[kept["epoch"].isin(common)] if common else kept
    means: pd.DataFrame = same.groupby(["trial", "layer"], sort=True)[columns].mean()
    return means


def ratios(means: pd.DataFrame, above: str = "norm_noisy", below: str = "norm_clean") -> pd.DataFrame:
    """Trainings × layers: one norm over the other. Trainings in which a norm below is 0 are left out."""
    ratio = means[above] / means[below].where(means[below] > 0)
    table: pd.DataFrame = ratio.unstack("layer")
    return table.dropna()


def overall(table: pd.DataFrame) -> pd.Series:
    """Per training, the geometric mean over groups, so that r and 1/r weigh the same."""
    if table.empty:  # every training has diverged
        return pd.Series(index=table.index, dtype=np.float64)
    logs = LOG.forward(table.to_numpy(dtype=np.float64))
    return pd.Series(np.exp(logs.mean(axis=1)), table.index)


def of_trainings(positive: list[float]) -> OverTrainings:
    """The mean over trainings, on the logarithmic scale."""
    return mean_of_trainings(positive, LOG)


def alike(one: Observed) -> Estimate:
    """G1: every group's ratio noisy / clean lies in [0.5, 2]. The estimate is that of the group that is farthest out."""
    means = norms(one)
    table, control = ratios(means), overall(ratios(means, "norm_control", "norm_rest"))  # as noisy over clean
    beside = f"; a random set as large has {of_trainings(list(control)).value:.2f} of the rest" if len(control) else ""
    return _in_every_group(one, table, ALIKE, "noisy / clean norm", beside)


def cancel(case: Case) -> Estimate:
    """G4: ‖g_c + g_n‖ < min(‖g_c‖, ‖g_n‖) in every group. The estimate is that of the group where the ratio is largest."""
    means = norms(case)
    smaller = means.assign(smaller=means[["norm_clean", "norm_noisy"]].min(axis=1))
    return _in_every_group(case, ratios(smaller, "norm_total", "smaller"), CANCELS, "norm of the sum over the smaller norm")


def _in_every_group(one: Observed, table: pd.DataFrame, region: Region, what: str, beside: str = "") -> Estimate:
    """table: trainings × groups. The groups of two trainings share their spread."""
    if table.empty:
        return _undefined(one)
    groups = pooled([of_trainings(list(table[group])) for group in table.columns])
    decision, shown = decide_groups(groups, region)
    named = sorted((g.value, str(layer)) for g, layer in zip(groups, table.columns, strict=True))
    (least, low), (most, high) = named[0], named[-1]
    reason = (
        f"{what} of {table.columns[shown]}, the group that stands out most; every group must be {region}; "
        f"they have {least:.2f} ({low}) to {most:.2f} ({high}){beside}"
    )
    if decision.verdict == "does_not_hold":
        level = 100 * (1 - FAMILYWISE / len(groups))
        at = in_brackets(groups[shown].at(level / 100), 2)
        reason += f"; with {len(groups)} groups the interval at {level:.3g} % counts, {at}"
    return estimated(groups[shown], decision, reason, list(table.index), sql_of(one))


def per_example(case: Case) -> Estimate:
    """G5: ratio · n_c / n_n lies in [5, 20]."""
    values, sizes = overall(ratios(norms(case))), case.observations.sizes
    if values.empty:
        return _undefined(case)
    quantity = of_trainings([v * (sizes[str(t)].clean / sizes[str(t)].noisy) for t, v in values.items()])
    compared = "noisy / clean norm per example, mean over groups"
    return decided(quantity, MAGNITUDE, compared, list(values.index), sql_of(case))


def shown_layer(judgement: Judgement, farthest: str, clearly: str) -> str:
    """Which layer a number of every layer, as G1, G4 and A1 have it, is of, in words.

    If the claim does not hold, it is a layer whose interval lies outside the region. Another one may lie farther out with a
    wider interval.
    """
    return f"a layer where {clearly}" if judgement.verdict == "does_not_hold" else f"the layer where {farthest}"


def _undefined(one: Observed) -> Estimate:
    return untestable("the norms are not finite: the trainings diverged", trials_of(gradients(one)), sql_of(one))


# --- claims -----------------------------------------------------------------------------------------------------------

AT_CHECKPOINTS = {CHECKPOINT: of_stage("gradients", at=CHECKPOINT)}  # its numbers stand beside those of the trajectory
of_gradients = partial(Claim, stage="gradients", beside=AT_CHECKPOINTS)
CLAIMS = (
    of_gradients(
        "G1",
        "§4.1, Figures 1, 12–14",
        "the gradient norm of the noisy examples is about that of all clean ones, and no layer stands out",
        estimate=alike,
        scopes=grid({"": 1.0}),
        rates=(0.05, 0.2),
    ),
    of_gradients(
        "G4",
        "§4.2, Figure 1",
        "clean and noisy gradients cancel: the norm of their sum is below both",
        estimate=cancel,
    ),
    of_gradients(
        "G5",
        "§1, §4.1",
        "per example, the noisy gradient norm is an order of magnitude above the clean one",
        estimate=per_example,
        scopes=here({"": 10.0}),
        rates=(0.05, 0.2),
    ),
)

# --- exhibits ---------------------------------------------------------------------------------------------------------


def measured(observations: Observations, **more: Any) -> list[Setting]:
    """The settings whose gradients are shown: along the trajectory, or at checkpoints where a setting has no others."""
    along = observations.settings("gradients", **more)
    others = observations.settings("gradients", at=CHECKPOINT, **more)
    return [*along, *(s for s in others if not any(s.same_as(one) for one in along))]


def titled(subject: Subject) -> str:
    """The title of a chart. It says so if the gradients are those at checkpoints."""
    at = {subject.observations.configs[a].get("at") for a in subject.setting.analyses.values()}
    return subject.label if at == {"trajectory"} else f"{subject.label}, at checkpoints".removeprefix(", ")


def dots(subject: Subject, names: Mapping[str, str]) -> Drawn:
    """The norms of every layer, averaged over epochs. names: {set: its name}."""
    means, layers = norms(subject), subject.layers(gradients(subject)["layer"])
    values = {
        name: [over(means[f"norm_{of_set}"].xs(layer, level="layer"), of_trainings) for layer in layers]
        for of_set, name in names.items()
        if not means.empty
    }
    kept = {name: cells for name, cells in values.items() if any(cell is not None for cell in cells)}
    return [Dots(titled(subject), layers, kept, NORM, sql_of(subject))]


def _through(subject: Subject) -> Drawn:
    """Per layer, the norms at the middle of each window of a tenth of the epochs."""
    frame, step = gradients(subject), subject.setting.config["epochs"] / 10
    later = frame[frame["epoch"] > 0]
    middle = (((later["epoch"] - 1) // step).clip(0, 9) + 0.5) * step
    columns = {name: f"norm_{name}" for name in SETS[:3]}
    means = later.assign(middle=middle).groupby(["layer", "trial", "middle"])[list(columns.values())].mean().reset_index()
    parts = {layer: means[means["layer"] == layer] for layer in subject.layers(frame["layer"])}
    panels = {
        layer: [line(name, by_training(rows, "middle", column), of_trainings) for name, column in columns.items()]
        for layer, rows in parts.items()
    }
    y_range = decades(v.value for lines in panels.values() for line in lines for v in line.values if v is not None)
    return [Curves(titled(subject), panels, "epoch", NORM, sql_of(subject), y_range=y_range, log_y=True)]


EXHIBITS = (
    Exhibit(
        "fig01",
        "Figures 1, 12, 13 and 14",
        "Gradient norms by layer",
        "§4.1, A.3",
        "Means over all epochs (the paper's Figure 1: epochs 15 to 20 of 50). The paper finds about the same norm from the "
        "noisy examples as from the clean ones in every layer. It finds a total well below both. The control is a random "
        "set as large as the noisy one.",
        "memloc sweep paper-grid --only block=main,main_resnet50,main_vit",
        measured,
        per_setting(lambda subject: dots(subject, {name: name for name in SETS})),
        Wanted(DATASETS, noises=RATES),
        claims=("G1", "G4", "G5"),
    ),
    Exhibit(
        "fig10",
        "Figure 10",
        "Gradient norms by layer, through the training",
        "A.1",
        "Means over windows of a tenth of the epochs. The paper finds the noisy norm nearly as large as the clean one in "
        "every window.",
        "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
        measured,
        per_setting(_through),
    ),
)
