"""G3, Figure 11: gradient norms at 1 % to 99 % label noise (paper A.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.settings import SEEDS, Setting
from memloc.papers.charts import Curves
from memloc.papers.claims import Claim, Estimates, Numbers, here, of_stage
from memloc.papers.deciding import SIGNIFICANT, decide_rank, decided, listed, rank_correlation, untestable
from memloc.papers.exhibits import Drawn, Evidence, Exhibit, Wanted, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.lines import decades, line
from memloc.papers.maini2023.gradients.norms import (
    CHECKPOINT,
    gradient_rows,
    measured,
    norms,
    of_trainings,
    overall,
    ratios,
    titled,
)
from memloc.seeds import stream
from memloc.statistics import Interval, spearman_test
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import Region
from memloc.statistics.scales import LOG
from memloc.statistics.trainings import OverTrainings, pooled

SLIGHTLY_BELOW = Region(0.5, 1.0, open_hi=True)  # G3, "slightly below 1"
LARGER = Region(lo=1.0, open_lo=True)  # G3: the ratio at 99 % over the next-largest one


def by_noise(frame: pd.DataFrame, trials: pd.DataFrame, sql: str) -> dict[str, Estimate]:
    """G3: the ratio is slightly below 1 at 1 % noise, largest at 99 %, and grows with noise.

    trials: as in `with_ratios`. Parts `noise0.01`, `noise0.99` where there are such trainings, `trend` from three rates on.
    """
    curve = with_ratios(frame, trials)
    if curve.empty:
        return {}
    rates, levels = {float(str(rate)): rows for rate, rows in curve.groupby("noise")}, by_rate(curve)
    estimates = {}
    if 0.01 in levels:
        compared = "noisy / clean norm, mean over groups, at 1% noise"
        estimates["noise0.01"] = decided(levels[0.01], SLIGHTLY_BELOW, compared, list(rates[0.01].index), sql)
    if 0.99 in levels and len(levels) > 1:
        estimates["noise0.99"] = _largest(rates, levels, sql)
    if len(levels) >= 3 and (trend := _trend(curve, sql)) is not None:
        estimates["trend"] = trend
    return estimates


def with_ratios(frame: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """trials (index trial; columns noise, seed, data_seed) that did not diverge, with a column ratio."""
    return trials.join(overall(ratios(norms(frame))).rename("ratio"), how="inner")


def by_rate(curve: pd.DataFrame) -> dict[float, OverTrainings]:
    """{noise rate: the ratio over its trainings}; the rates with two trainings share their spread."""
    rates = {float(str(rate)): mean_of_trainings(list(rows["ratio"]), LOG) for rate, rows in curve.groupby("noise")}
    return dict(zip(rates, pooled(list(rates.values())), strict=True))


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


def _g3(observations: Observations, setting: Setting, numbers: Numbers) -> Estimates:
    trials = _trials(observations, setting)
    return {} if trials.empty else by_noise(*_rows(observations, setting, trials))


def _trials(observations: Observations, setting: Setting) -> pd.DataFrame:
    """Index trial; columns noise, seed, data_seed: the trainings with label noise."""
    configs = {t: observations.trials[t] for t in setting.trials if 0 < observations.trials[t]["noise"] < 1}
    return pd.DataFrame({k: {t: config[k] for t, config in configs.items()} for k in ("noise", *SEEDS)})


def _rows(observations: Observations, setting: Setting, trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    frame, sql = gradient_rows(observations, setting.only(list(trials.index)))
    return frame, trials, sql


CLAIMS = (
    Claim(
        "G3",
        "A.2, Figure 11",
        "the ratio of noisy to clean gradient norms: slightly below 1 at 1 % noise, very high at 99 %",
        here({"noise0.01": 1.0, "noise0.99": None, "trend": None}),
        "gradients",
        of_stage("gradients", without=("noise",)),
        _g3,
        {CHECKPOINT: of_stage("gradients", without=("noise",), at=CHECKPOINT)},
        floats=True,
        memorizing=False,
        trainings=lambda part: {
            "noise": {"noise0.01": 0.01, "noise0.99": (0.01, 0.99)}.get(part, (0.01, 0.1, 0.99)),
            "dropout": "none",
        },
    ),
)


def _curve(evidence: Evidence, setting: Setting, label: str) -> Drawn:
    """The ratio of norms against the noise rate. Nothing with fewer than three rates."""
    trials = _trials(evidence.observations, setting)
    if trials.empty or trials["noise"].nunique() < 3:
        return []
    frame, _, sql = _rows(evidence.observations, setting, trials)
    curve = with_ratios(frame, trials)
    levels = by_rate(curve) if len(curve) else {}
    table = curve.assign(rate=100 * curve["noise"]).pivot_table(index=list(SEEDS), columns="rate", values="ratio")
    ratio = replace(line("noisy / clean", table, of_trainings), values=[level.printed for level in levels.values()])
    means = [1.0, *(level.value for level in levels.values())]
    return [
        Curves(
            titled(evidence.observations, setting, label),
            {"": [ratio]},
            "label noise, %",
            "ratio of norms, mean over layers",
            sql,
            y_range=decades(means),
            log_y=True,
            rule=(1.0, "equal"),
        )
    ]


NOISE_CURVE = Exhibit(
    "fig11",
    "Figure 11",
    "The ratio of noisy to clean gradient norms at 1 % to 99 % label noise",
    "A.2",
    "Norms are means over all epochs. The paper finds the noisy norm slightly below the clean one at 1 % noise, and very "
    "high at 99 %.",
    "memloc sweep noise-curve",
    partial(measured, without=("noise",)),
    Wanted(("cifar10",), ("resnet9",)),
    per_setting(_curve),
    ("G3",),
)
