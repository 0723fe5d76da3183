"""G1–G5: the gradients of clean examples against those of noisy examples (paper §4, A.1–A.3).

Frames are rows of the view `gradient_layers` (trial, epoch, layer, norms, cosines) of one setting's analyses. Each training
weighs the same. Norms are averaged over the stored epochs first, as in Figures 1, 11–14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, Parts, of_stage
from memloc.papers.maini2023.observations import Observations, among, first_reaching
from memloc.papers.maini2023.paper import HERE, Numbers
from memloc.papers.maini2023.pooling import interval_over, over_trainings
from memloc.papers.maini2023.settings import Setting
from memloc.seeds import stream
from memloc.statistics import spearman_test

CHECKPOINT = "checkpoint"  # the other place where gradients are taken; ids of its numbers end with it
ALIKE = (0.5, 2.0)  # ratios of norms that are "about the same"
OPPOSED = -0.75
ORDER = (10**0.5, 10**1.5)  # "an order of magnitude"


def norms(frame: pd.DataFrame) -> pd.DataFrame:
    """Index (trial, layer), columns norm_clean, norm_noisy, norm_control, norm_total: means over epochs.

    Trainings that diverged are left out: some of their norms are not finite.
    """
    columns = ["norm_clean", "norm_noisy", "norm_control", "norm_total"]
    finite = np.isfinite(frame[columns].to_numpy(dtype=np.float64)).all(axis=1)
    diverged = set(frame["trial"][~finite])
    kept = frame[~frame["trial"].isin(diverged)]
    means: pd.DataFrame = kept.groupby(["trial", "layer"], sort=True)[columns].mean()
    return means


def ratios(means: pd.DataFrame, above: str = "norm_noisy", below: str = "norm_clean") -> pd.DataFrame:
    """Trials × layers: one norm over the other; NaN where the other is 0."""
    ratio = means[above] / means[below].where(means[below] > 0)
    table: pd.DataFrame = ratio.unstack("layer")
    return table


def overall(table: pd.DataFrame) -> list[float]:
    """Per training, the geometric mean over groups, so that r and 1/r weigh the same."""
    logs = np.log(table.to_numpy(dtype=np.float64))
    return [float(v) for v in np.exp(logs.mean(axis=1)) if np.isfinite(v)]


def alike(frame: pd.DataFrame, sql: str) -> Estimate:
    """G1: every group's ratio noisy / clean, mean over trainings, lies in [0.5, 2]. Estimate: the groups' geometric mean."""
    means = norms(frame)
    table = ratios(means)
    values = overall(table)
    estimate = over_trainings(values, 0.0)
    if estimate is None:
        return _undefined(frame, sql)
    groups = table.mean(axis=0)
    control = float(np.mean(overall(ratios(means, "norm_control"))))
    reason = (
        f"noisy / clean norm by group: {_extremes(groups)}; all must lie in {ALIKE[0]} to {ALIKE[1]}; a random set as "
        f"large has {control:.2f}{interval_over(estimate, len(values), '')}"
    )
    return Estimate(estimate, bool(groups.between(*ALIKE).all()), reason, list(table.index), sql)


def opposed(frame: pd.DataFrame, windows: Mapping[str, tuple[int, int]], sql: str) -> Estimate:
    """G2: in most epochs of the window every group's cosine is below −0.75.

    The estimate is the median, over these epochs, of the largest cosine of any group. windows: {trial: (first, last epoch)}.
    """
    inside = frame[[first <= e <= last for e, (first, last) in _windowed(frame, windows)]]
    inside = inside.dropna(subset=["cosine"])
    if inside.empty:
        spans = sorted(set(windows.values()))
        asked = f"epochs {spans[0][0]} to {spans[0][1]}" if spans else "the epochs in which noisy accuracy climbs"
        reason = f"no gradients in {asked}, where noisy accuracy climbs: list such epochs in `gradients.epochs`"
        return Estimate(None, None, reason, [], sql)
    highest = inside.groupby(["trial", "epoch"])["cosine"].max()
    share = (highest < OPPOSED).groupby("trial").mean()
    medians = highest.groupby("trial").median()
    estimate = over_trainings(list(medians), -1.0, 1.0)
    control = inside["cosine_control"].median()
    (first, last), epochs = windows[str(medians.index[0])], highest.groupby("trial").size().mean()
    reason = (
        f"share of the epochs {first} to {last} ({epochs:.3g} stored) with every group below {OPPOSED}: {share.mean():.2f}, "
        f"it must be above 0.5; random sets as large have a median cosine of {control:+.2f}"
    )
    return Estimate(estimate, bool(share.mean() > 0.5), reason, list(medians.index), sql)


def by_noise(frame: pd.DataFrame, noise: Mapping[str, float], sql: str) -> dict[str, Estimate]:
    """G3: the ratio is below 1 at 1 % noise, largest at 99 %, and grows with noise (Spearman over trainings, one-sided).

    noise: {trial: noise rate}. Parts `noise0.01`, `noise0.99` where there are such trainings, `trend` from three rates on.
    """
    table = ratios(norms(frame))
    values = pd.Series({t: v for t in table.index for v in overall(table.loc[[t]])}, dtype=np.float64)
    rates = values.index.map(noise)
    levels = values.groupby(rates).mean()
    estimates = {}
    verdicts = {0.01: ("below 1", levels.get(0.01, 1.0) < 1)}
    if len(levels) > 1:
        verdicts[0.99] = (f"the largest of {len(levels)} noise rates", levels.get(0.99, 0.0) == levels.max())
    for rate, (says, holds) in verdicts.items():
        at = list(values[rates == rate])
        if at:
            reason = f"noisy / clean norm, mean over groups, at {rate:.0%} noise; it must be {says}{_over(at)}"
            trials = list(values.index[rates == rate])
            estimates[f"noise{rate}"] = Estimate(over_trainings(at, 0.0), bool(holds), reason, trials, sql)
    test = spearman_test(np.asarray(rates, dtype=np.float64), values.to_numpy(), stream(0, "claims", "G3"))
    if test is not None and len(levels) >= 3:
        reason = f"Spearman of ratio and noise rate over {len(values)} trainings at {len(levels)} rates: p = {test.p:.2g}"
        estimates["trend"] = Estimate(test.interval, test.p < 0.05, reason, list(values.index), sql)
    return estimates


def cancel(frame: pd.DataFrame, sql: str) -> Estimate:
    """G4: ‖g_c + g_n‖ < min(‖g_c‖, ‖g_n‖) in every group. Estimate: the largest ratio of the two in any group."""
    means = norms(frame)
    smaller = means.assign(smaller=means[["norm_clean", "norm_noisy"]].min(axis=1))
    table = ratios(smaller, "norm_total", "smaller")
    values = [float(v) for v in table.max(axis=1) if np.isfinite(v)]
    estimate = over_trainings(values, 0.0)
    if estimate is None:
        return _undefined(frame, sql)
    groups = table.mean(axis=0)
    reason = f"norm of the sum over the smaller norm, by group: {_extremes(groups)}; all must be below 1{_over(values)}"
    return Estimate(estimate, bool((groups < 1).all()), reason, list(table.index), sql)


def per_example(frame: pd.DataFrame, shares: Mapping[str, float], sql: str) -> Estimate:
    """G5: ratio · n_c / n_n is nearest to 10 among the powers of ten; shares: {trial: n_c / n_n}."""
    table = ratios(norms(frame))
    values = [v * shares[str(t)] for t in table.index for v in overall(table.loc[[t]])]
    estimate = over_trainings(values, 0.0)
    if estimate is None:
        return _undefined(frame, sql)
    low, high = ORDER
    reason = f"noisy / clean norm per example, mean over groups; it must be between {low:.1f} and {high:.0f}{_over(values)}"
    return Estimate(estimate, low <= estimate.value <= high, reason, list(table.index), sql)


def _windowed(frame: pd.DataFrame, windows: Mapping[str, tuple[int, int]]) -> list[tuple[int, tuple[int, int]]]:
    nothing = (1, 0)
    return [(e, windows.get(t, nothing)) for t, e in zip(frame["trial"], frame["epoch"], strict=True)]


def _undefined(frame: pd.DataFrame, sql: str) -> Estimate:
    return Estimate(None, None, "the norms are not finite: the trainings diverged", sorted(set(frame["trial"])), sql)


def _extremes(groups: pd.Series) -> str:
    low, high = str(groups.idxmin()), str(groups.idxmax())
    return f"{groups[low]:.2f} ({low}) to {groups[high]:.2f} ({high})"


def _over(values: Sequence[float]) -> str:
    return "; one training, no interval" if len(values) == 1 else f"; interval over {len(values)} trainings"


# --- on a store -------------------------------------------------------------------------------------------------------


def gradient_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """Rows of `gradient_layers` of a setting, and the SQL that returns them."""
    sql = f"SELECT * FROM gradient_layers WHERE {among('analysis', setting.analyses.values())} ORDER BY trial, epoch, layer"
    return observations.rows(observations.gradient_layers, setting), sql


def _windows(observations: Observations, setting: Setting) -> dict[str, tuple[int, int]]:
    """{trial: the epochs in which it memorizes}: 10 to 30 in the paper's setting, else where noisy accuracy climbs."""
    if setting.scope == HERE and not setting.deviations:
        return dict.fromkeys(setting.trials, (10, 30))
    begins, ends = (first_reaching(observations.epochs, level) for level in (0.2, 0.8))
    return {t: (begins[t], ends[t]) for t in setting.trials if t in begins and t in ends}


def _g2(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = gradient_rows(observations, setting)
    return {"": opposed(frame, _windows(observations, setting), sql)}


def _at_checkpoints(observations: Observations) -> list[Setting]:
    return observations.settings("gradients", at="checkpoint")


def _g3_settings(observations: Observations, at: str = "trajectory") -> list[Setting]:
    return observations.settings("gradients", without=("noise",), at=at)


def _by_epochs(numbers: Callable[[Observations, Setting, Numbers], Estimates]) -> Judge:
    """Judged along the trajectory, with the checkpoints' numbers beside."""
    return Judge(of_stage("gradients"), numbers, {CHECKPOINT: _at_checkpoints})


def _g3(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    noisy = {t: observations.trials[t]["noise"] for t in setting.trials if 0 < observations.trials[t]["noise"] < 1}
    frame, sql = gradient_rows(observations, setting.only(list(noisy)))
    return by_noise(frame, noisy, sql) if noisy else {}


def _g5(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    shares = {t: observations.sizes[t].clean / observations.sizes[t].noisy for t in setting.trials}
    frame, sql = gradient_rows(observations, setting)
    return {"": per_example(frame, shares, sql)}


JUDGES = {
    "G1": _by_epochs(lambda o, s, n: {"": alike(*gradient_rows(o, s))}),
    "G2": _by_epochs(_g2),
    "G3": Judge(_g3_settings, _g3, {CHECKPOINT: partial(_g3_settings, at=CHECKPOINT)}),
    "G4": _by_epochs(lambda o, s, n: {"": cancel(*gradient_rows(o, s))}),
    "G5": _by_epochs(_g5),
}
