"""G1, G4, G5, Figures 1, 10 and 12–14: the norms of clean and of noisy gradients (paper §4.1, A.1, A.3).

Frames are rows of the view `gradient_layers` (trial, epoch, layer, norms, cosines) of one setting's analyses. Each training
weighs the same. Norms are averaged over epochs first, as in the figures. Ratios are compared as logarithms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations, among
from memloc.analysis.settings import Setting
from memloc.papers.charts import Curves, Dots
from memloc.papers.claims import Claim, Estimates, Numbers, grid, here, of_stage
from memloc.papers.deciding import decided, estimated, untestable
from memloc.papers.exhibits import Drawn, Evidence, Exhibit, Wanted, memorizing, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.lines import decades, over, panels
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


def norms(frame: pd.DataFrame) -> pd.DataFrame:
    """Index (trial, layer), columns norm_clean, norm_noisy, norm_control, norm_total: means over epochs.

    Trainings that diverged are left out: some of their norms are not finite.
    """
    columns = [f"norm_{name}" for name in SETS]
    finite = np.isfinite(frame[columns].to_numpy(dtype=np.float64)).all(axis=1)
    diverged = set(frame["trial"][~finite])
    kept = frame[~frame["trial"].isin(diverged)]
    means: pd.DataFrame = kept.groupby(["trial", "layer"], sort=True)[columns].mean()
    return means


def ratios(means: pd.DataFrame, above: str = "norm_noisy", below: str = "norm_clean") -> pd.DataFrame:
    """Trainings × layers: one norm over the other. Trainings in which a norm below is 0 are left out."""
    ratio = means[above] / means[below].where(means[below] > 0)
    table: pd.DataFrame = ratio.unstack("layer")
    return table.dropna()


def overall(table: pd.DataFrame) -> pd.Series:
    """Per training, the geometric mean over groups, so that r and 1/r weigh the same."""
    logs = LOG.forward(table.to_numpy(dtype=np.float64))
    return pd.Series(np.exp(logs.mean(axis=1)), table.index)


def by_group(table: pd.DataFrame) -> list[OverTrainings]:
    """The ratio of each group; the groups of two trainings share their spread."""
    return pooled([mean_of_trainings(list(table[group]), LOG) for group in table.columns])


def alike(frame: pd.DataFrame, sql: str) -> Estimate:
    """G1: every group's ratio noisy / clean lies in [0.5, 2]. The estimate is that of the group that is farthest out."""
    means = norms(frame)
    table = ratios(means)
    if table.empty:
        return _undefined(frame, sql)
    control = mean_of_trainings(list(overall(ratios(means, "norm_control"))), LOG).value
    return _in_every_group(table, ALIKE, "noisy / clean norm", sql, f"; a random set as large has {control:.2f}")


def cancel(frame: pd.DataFrame, sql: str) -> Estimate:
    """G4: ‖g_c + g_n‖ < min(‖g_c‖, ‖g_n‖) in every group. The estimate is that of the group where the ratio is largest."""
    means = norms(frame)
    smaller = means.assign(smaller=means[["norm_clean", "norm_noisy"]].min(axis=1))
    table = ratios(smaller, "norm_total", "smaller")
    if table.empty:
        return _undefined(frame, sql)
    return _in_every_group(table, CANCELS, "norm of the sum over the smaller norm", sql)


def _in_every_group(table: pd.DataFrame, region: Region, what: str, sql: str, beside: str = "") -> Estimate:
    groups = by_group(table)
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
    return estimated(groups[shown], decision, reason, list(table.index), sql)


def per_example(frame: pd.DataFrame, shares: Mapping[str, float], sql: str) -> Estimate:
    """G5: ratio · n_c / n_n lies in [5, 20]; shares: {trial: n_c / n_n}."""
    values = overall(ratios(norms(frame)))
    if values.empty:
        return _undefined(frame, sql)
    quantity = mean_of_trainings([v * shares[str(t)] for t, v in values.items()], LOG)
    return decided(quantity, MAGNITUDE, "noisy / clean norm per example, mean over groups", list(values.index), sql)


def _undefined(frame: pd.DataFrame, sql: str) -> Estimate:
    return untestable("the norms are not finite: the trainings diverged", sorted(set(frame["trial"])), sql)


def gradient_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """Rows of `gradient_layers` of a setting, and the SQL that returns them."""
    sql = f"SELECT * FROM gradient_layers WHERE {among('analysis', setting.analyses.values())} ORDER BY trial, epoch, layer"
    return observations.rows(observations.gradient_layers, setting), sql


AT_CHECKPOINTS = {CHECKPOINT: of_stage("gradients", at=CHECKPOINT)}  # its numbers stand beside those of the trajectory


def _g5(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    shares = {t: observations.sizes[t].clean / observations.sizes[t].noisy for t in setting.trials}
    frame, sql = gradient_rows(observations, setting)
    return {"": per_example(frame, shares, sql)}


# --- claims -----------------------------------------------------------------------------------------------------------

CLAIMS = (
    Claim(
        "G1",
        "§4.1, Figures 1, 12–14",
        "the gradient norm of the noisy examples is about that of all clean ones, and no layer stands out",
        grid({"": 1.0}),
        "gradients",
        of_stage("gradients"),
        lambda o, s, n: {"": alike(*gradient_rows(o, s))},
        AT_CHECKPOINTS,
        rates=(0.05, 0.2),
    ),
    Claim(
        "G4",
        "§4.2, Figure 1",
        "clean and noisy gradients cancel: the norm of their sum is below both",
        here(),
        "gradients",
        of_stage("gradients"),
        lambda o, s, n: {"": cancel(*gradient_rows(o, s))},
        AT_CHECKPOINTS,
        floats=True,
    ),
    Claim(
        "G5",
        "§1, §4.1",
        "per example, the noisy gradient norm is an order of magnitude above the clean one",
        here({"": 10.0}),
        "gradients",
        of_stage("gradients"),
        _g5,
        AT_CHECKPOINTS,
        floats=True,
        rates=(0.05, 0.2),
    ),
)

# --- exhibits ---------------------------------------------------------------------------------------------------------


def measured(observations: Observations, **more: Any) -> list[Setting]:
    """The settings whose gradients are shown: along the trajectory, or at checkpoints where a setting has no others."""
    along = observations.settings("gradients", **more)
    others = observations.settings("gradients", at=CHECKPOINT, **more)
    return [*along, *(s for s in others if not any(s.same_as(one) for one in along))]


def titled(observations: Observations, setting: Setting, label: str) -> str:
    """The title of a chart. It says so if the gradients are those at checkpoints."""
    at = {observations.configs[a].get("at") for a in setting.analyses.values()}
    return label if at == {"trajectory"} else f"{label}, at checkpoints".removeprefix(", ")


def of_trainings(positive: list[float]) -> OverTrainings:
    """The mean norm over trainings, as the claims average ratios: on the logarithmic scale."""
    return mean_of_trainings(positive, LOG)


def dots(observations: Observations, setting: Setting, label: str, names: Mapping[str, str]) -> Dots:
    """The norms of every layer, averaged over epochs. names: {set: its name}."""
    frame, sql = gradient_rows(observations, setting)
    means = norms(frame)
    layers = observations.order(setting, frame["layer"])
    values = {
        name: [over(means[f"norm_{of_set}"].xs(layer, level="layer"), of_trainings) for layer in layers]
        for of_set, name in names.items()
        if not means.empty
    }
    kept = {name: cells for name, cells in values.items() if any(cell is not None for cell in cells)}
    return Dots(titled(observations, setting, label), layers, kept, NORM, sql)


def _dots(evidence: Evidence, setting: Setting, label: str) -> Drawn:
    return [dots(evidence.observations, setting, label, {name: name for name in SETS})]


def _through(evidence: Evidence, setting: Setting, label: str) -> Drawn:
    """Per layer, the norms at the middle of each window of a tenth of the epochs."""
    frame, sql = gradient_rows(evidence.observations, setting)
    step = setting.config["epochs"] / 10
    later = frame[frame["epoch"] > 0]
    window = ((later["epoch"] - 1) // step).clip(0, 9)
    columns = {name: f"norm_{name}" for name in SETS[:3]}
    means = later.assign(middle=(window + 0.5) * step).groupby(["trial", "layer", "middle"])[list(columns.values())].mean()
    order = evidence.observations.order(setting, frame["layer"])
    by_layer = panels(means.reset_index(), "layer", order, "middle", columns, of_trainings)
    middle = [v.value for lines in by_layer.values() for line in lines for v in line.values if v is not None]
    title = titled(evidence.observations, setting, label)
    return [Curves(title, by_layer, "epoch", NORM, sql, y_range=decades(middle), log_y=True)]


NORMS = Exhibit(
    "fig01",
    "Figures 1, 12, 13 and 14",
    "Gradient norms by layer",
    "§4.1, A.3",
    "Means over all epochs (the paper's Figure 1: epochs 15 to 20 of 50). The paper finds about the same norm from the "
    "noisy examples as from the clean ones in every layer. It finds a total well below both. The control is a random set as "
    "large as the noisy one.",
    "memloc sweep paper-grid --only block=main,main_resnet50,main_vit",
    memorizing(measured),
    Wanted(("cifar10", "mnist", "svhn"), noises=(0.05, 0.1, 0.2)),
    per_setting(_dots),
    ("G1", "G4", "G5"),
)
THROUGH = Exhibit(
    "fig10",
    "Figure 10",
    "Gradient norms by layer, through the training",
    "A.1",
    "Means over windows of a tenth of the epochs. The paper finds the noisy norm nearly as large as the clean one in every "
    "window.",
    "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
    memorizing(measured),
    Wanted(("cifar10",), ("resnet9",), (0.1,)),
    per_setting(_through),
)
