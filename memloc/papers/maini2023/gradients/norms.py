"""G1–G5: the gradients of clean examples against those of noisy examples (paper §4, A.1–A.3).

Frames are rows of the view `gradient_layers` (trial, epoch, layer, norms, cosines) of one setting's analyses. Each training
weighs the same. Norms are averaged over the stored epochs first, as in Figures 1, 11–14. Ratios are compared as logarithms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.papers.maini2023.deciding import (
    SIGNIFICANT,
    decide_rank,
    decided,
    estimated,
    listed,
    rank_correlation,
    untestable,
)
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Estimates, Judge, Parts, of_stage
from memloc.papers.maini2023.observations import Observations, among, first_reaching
from memloc.papers.maini2023.paper import HERE, Numbers
from memloc.papers.maini2023.settings import SEEDS, Setting
from memloc.seeds import stream
from memloc.statistics import Interval, in_brackets, spearman_test
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import FAMILYWISE, Region, decide_groups
from memloc.statistics.scales import LOG, REAL
from memloc.statistics.trainings import OverTrainings, pooled

CHECKPOINT = "checkpoint"  # the other place where gradients are taken; ids of its numbers end with it
COSINE = replace(REAL, lo=-1.0, hi=1.0)

ALIKE = Region(0.5, 2.0)  # G1: ratios of norms that are "about the same"
OPPOSED = Region(hi=-0.75, open_hi=True)  # G2
LEAST_EPOCHS = 3  # of G2's window; a median of fewer says little
SLIGHTLY_BELOW = Region(0.5, 1.0, open_hi=True)  # G3, "slightly below 1"
LARGER = Region(lo=1.0, open_lo=True)  # G3: the ratio at 99 % over the next-largest one
CANCELS = Region(hi=1.0, open_hi=True)  # G4: the norm of the sum over the smaller norm
MAGNITUDE = Region(5.0, 20.0)  # G5, "an order of magnitude"


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


def opposed(frame: pd.DataFrame, windows: Mapping[str, tuple[int, int]], sql: str) -> Estimate:
    """G2: the median, over the epochs of the window, of the largest cosine of any group is below −0.75.

    windows: {trial: (first, last epoch)}. Trainings with fewer than three of these epochs are left out.
    """
    inside = frame[[first <= e <= last for e, (first, last) in _windowed(frame, windows)]].dropna(subset=["cosine"])
    highest = inside.groupby(["trial", "epoch"])[["cosine", "cosine_control"]].max()
    stored = highest.groupby("trial").size()
    enough = stored[stored >= LEAST_EPOCHS]
    if enough.empty:
        return untestable(_too_few_epochs(windows, stored), [], sql)
    medians = highest.groupby("trial").median().loc[enough.index]
    quantity = mean_of_trainings(list(medians["cosine"]), COSINE)
    span = _span([windows[str(t)] for t in enough.index])
    compared = f"median over {span} ({enough.mean():.3g} stored) of the largest cosine of any group"
    beside = f"; {_control(medians['cosine_control'])}"
    return decided(quantity, OPPOSED, compared, list(enough.index), sql, beside)


def _control(medians: pd.Series) -> str:
    """What random sets say. Near a stationary point any two sets cancel, and G2 says nothing of noise."""
    if medians.isna().any():
        return "the cosine of random sets is not known, so this may not be about noise"
    control = mean_of_trainings(list(medians), COSINE).printed
    has = f"random sets as large have {in_brackets(control, 2)}"
    if control.lo is None:
        return f"{has}: one training does not show whether this is about noise"
    if control.lo <= OPPOSED.hi:
        return f"{has}, perhaps below {OPPOSED.hi} too: any two sets cancel near a minimum, so this may not be about noise"
    return f"{has}, above {OPPOSED.hi}: this is about noise"


def _too_few_epochs(windows: Mapping[str, tuple[int, int]], stored: pd.Series) -> str:
    asked = _span(list(windows.values())) if windows else "the epochs"
    has = f"gradients of only {stored.max()} epochs" if len(stored) else "no gradients"
    return f"{has} in {asked}, where noisy accuracy climbs: list at least {LEAST_EPOCHS} such epochs in `gradients.epochs`"


def _span(windows: Sequence[tuple[int, int]]) -> str:
    return f"epochs {min(first for first, _ in windows)} to {max(last for _, last in windows)}"


def _windowed(frame: pd.DataFrame, windows: Mapping[str, tuple[int, int]]) -> list[tuple[int, tuple[int, int]]]:
    nothing = (1, 0)
    return [(e, windows.get(t, nothing)) for t, e in zip(frame["trial"], frame["epoch"], strict=True)]


def per_example(frame: pd.DataFrame, shares: Mapping[str, float], sql: str) -> Estimate:
    """G5: ratio · n_c / n_n lies in [5, 20]; shares: {trial: n_c / n_n}."""
    values = overall(ratios(norms(frame)))
    if values.empty:
        return _undefined(frame, sql)
    quantity = mean_of_trainings([v * shares[str(t)] for t, v in values.items()], LOG)
    return decided(quantity, MAGNITUDE, "noisy / clean norm per example, mean over groups", list(values.index), sql)


def _undefined(frame: pd.DataFrame, sql: str) -> Estimate:
    return untestable("the norms are not finite: the trainings diverged", sorted(set(frame["trial"])), sql)


# --- by noise rate ----------------------------------------------------------------------------------------------------


def by_noise(frame: pd.DataFrame, trials: pd.DataFrame, sql: str) -> dict[str, Estimate]:
    """G3: the ratio is slightly below 1 at 1 % noise, largest at 99 %, and grows with noise.

    trials: index trial; columns noise, seed, data_seed. Parts `noise0.01`, `noise0.99` where there are such trainings,
    `trend` from three rates on.
    """
    curve = trials.join(overall(ratios(norms(frame))).rename("ratio"), how="inner")
    if curve.empty:
        return {}
    rates = {float(str(rate)): rows for rate, rows in curve.groupby("noise")}
    cells = pooled([mean_of_trainings(list(rows["ratio"]), LOG) for rows in rates.values()])
    levels = dict(zip(rates, cells, strict=True))
    estimates = {}
    if 0.01 in levels:
        compared = "noisy / clean norm, mean over groups, at 1% noise"
        estimates["noise0.01"] = decided(levels[0.01], SLIGHTLY_BELOW, compared, list(rates[0.01].index), sql)
    if 0.99 in levels and len(levels) > 1:
        estimates["noise0.99"] = _largest(rates, levels, sql)
    if len(levels) >= 3 and (trend := _trend(curve, sql)) is not None:
        estimates["trend"] = trend
    return estimates


def _largest(rates: Mapping[float, pd.DataFrame], levels: Mapping[float, OverTrainings], sql: str) -> Estimate:
    """The ratio at 99 % over the next-largest one, in trainings with the same seeds."""
    following = max((rate for rate in levels if rate != 0.99), key=lambda rate: levels[rate].value)
    named = f"{levels[0.99].value:.3g} at 99% noise, {levels[following].value:.3g} at {following:.0%}"
    high, low = (rates[rate].reset_index(names="trial") for rate in (0.99, following))
    pairs = high.merge(low, on=list(SEEDS), suffixes=("", "_low"))
    if pairs.empty:
        return untestable(f"noisy / clean norm is {named}; no two trainings at these rates share their seeds", [], sql)
    quantity = mean_of_trainings(list(pairs["ratio"] / pairs["ratio_low"]), LOG)
    others = f"the largest of {len(levels) - 1} other rates"
    compared = f"noisy / clean norm, mean over groups, at 99% noise, divided by {others} ({named})"
    return decided(quantity, LARGER, compared, [*pairs["trial"], *pairs["trial_low"]], sql)


def _trend(curve: pd.DataFrame, sql: str) -> Estimate | None:
    """Spearman's coefficient with the noise rate over all trainings; None where the ratio does not vary."""
    key = stream(0, "claims", "G3")
    test = spearman_test(curve["noise"].to_numpy(dtype=np.float64), curve["ratio"].to_numpy(dtype=np.float64), key)
    if test is None:
        return None
    curves = [rows.sort_values("noise") for _, rows in curve.groupby(list(SEEDS)) if len(rows) >= 3]
    each = [rho for rows in curves if (rho := rank_correlation(rows["noise"], rows["ratio"])) is not None]
    reason = (
        f"Spearman of ratio and noise rate, {len(curve)} trainings at {curve['noise'].nunique()} rates: p = {test.p:.2g}; "
        f"p must be below {SIGNIFICANT}; by seed {listed(each) or 'unknown'}"
    )
    decision = decide_rank(test, each, len(curve[list(SEEDS)].drop_duplicates()))
    return Estimate(Interval(test.interval.value, None, None), decision, reason, list(curve.index), sql)


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
    noisy = {t: observations.trials[t] for t in setting.trials if 0 < observations.trials[t]["noise"] < 1}
    if not noisy:
        return {}
    frame, sql = gradient_rows(observations, setting.only(list(noisy)))
    trials = pd.DataFrame([[config[k] for k in ("noise", *SEEDS)] for config in noisy.values()], list(noisy))
    return by_noise(frame, trials.set_axis(["noise", *SEEDS], axis=1), sql)


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
