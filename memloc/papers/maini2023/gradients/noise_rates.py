"""G3, Figure 11: gradient norms at 1 % to 99 % label noise (paper A.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.observed import Observed
from memloc.analysis.settings import SEEDS
from memloc.papers.charts import Curves, decades, line
from memloc.papers.claims import Case, Claim, Estimates, here, of_stage
from memloc.papers.deciding import SIGNIFICANT, Estimate, decided, listed, ranked, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.maini2023.gradients.norms import (
    CHECKPOINT,
    measured,
    norms,
    of_trainings,
    overall,
    ratios,
    sql_of,
    titled,
)
from memloc.seeds import stream
from memloc.stages.instrument import in_words
from memloc.statistics import rank_correlation, spearman_test
from memloc.statistics.regions import Region
from memloc.statistics.trainings import OverTrainings, pooled

SLIGHTLY_BELOW = Region(0.5, 1.0, open_hi=True)  # G3, "slightly below 1"
LARGER = Region(lo=1.0, open_lo=True)  # G3: the ratio at 99 % over the next-largest one


def with_noise(one: Observed) -> Observed:
    """Its trainings with label noise."""
    return one.only([t for t, config in one.configs.items() if 0 < config["noise"] < 1])


def curve_of(one: Observed) -> pd.DataFrame:
    """Index trial; columns noise, seed, data_seed, ratio of norms: the trainings that did not diverge."""
    fields = pd.DataFrame({k: {t: config[k] for t, config in one.configs.items()} for k in ("noise", *SEEDS)})
    return fields.join(overall(ratios(norms(one))).rename("ratio"), how="inner")


def by_rate(curve: pd.DataFrame) -> dict[float, OverTrainings]:
    """{noise rate: the ratio over its trainings}; the rates with two trainings share their spread."""
    rates = {float(str(rate)): of_trainings(list(rows["ratio"])) for rate, rows in curve.groupby("noise")}
    return dict(zip(rates, pooled(list(rates.values())), strict=True))


def by_noise(case: Case) -> Estimates:
    """G3: the ratio is slightly below 1 at 1 % noise, largest at 99 %, and grows with noise.

    Parts `noise0.01`, `noise0.99` where there are such trainings, `trend` from three rates on.
    """
    noisy = with_noise(case)
    if not noisy.trials:
        return {}
    curve, sql, trained = curve_of(noisy), sql_of(noisy), {float(config["noise"]) for config in noisy.configs.values()}
    rates, levels = {float(str(rate)): rows for rate, rows in curve.groupby("noise")}, by_rate(curve)
    diverged = untestable(_diverged(trained - levels.keys()), [], sql)
    estimates: dict[str, Estimate] = {}
    if 0.01 in trained:
        compared = "noisy / clean norm, mean over groups, at 1% noise"
        known = 0.01 in levels
        estimates["noise0.01"] = (
            decided(levels[0.01], SLIGHTLY_BELOW, compared, list(rates[0.01].index), sql) if known else diverged
        )
    if 0.99 in trained and len(trained) > 1:
        estimates["noise0.99"] = _largest(rates, levels, sql) if 0.99 in levels and len(levels) > 1 else diverged
    if len(trained) >= 3:
        estimates["trend"] = _trend(curve, sql) if len(levels) >= 3 else diverged
    return estimates


def _diverged(rates: Collection[float]) -> str:
    return f"no training at {in_words([f'{rate:.0%}' for rate in sorted(rates)])} noise has finite norms: they diverged"


def _largest(rates: Mapping[float, pd.DataFrame], levels: Mapping[float, OverTrainings], sql: str) -> Estimate:
    """The ratio at 99 % over the next-largest one, in trainings with the same seeds."""
    following = max((rate for rate in levels if rate != 0.99), key=lambda rate: levels[rate].value)
    named = f"{levels[0.99].value:.3g} at 99% noise, {levels[following].value:.3g} at {following:.0%}"
    high, low = (rates[rate].reset_index(names="trial") for rate in (0.99, following))
    pairs = high.merge(low, on=list(SEEDS), suffixes=("", "_low"))
    if pairs.empty:
        return untestable(f"noisy / clean norm is {named}; no two trainings at these rates share their seeds", [], sql)
    others = f"the largest of {len(levels) - 1} other rates"
    compared = f"noisy / clean norm, mean over groups, at 99% noise, divided by {others} ({named})"
    paired = of_trainings(list(pairs["ratio"] / pairs["ratio_low"]))
    return decided(paired, LARGER, compared, [*pairs["trial"], *pairs["trial_low"]], sql)


def _trend(curve: pd.DataFrame, sql: str) -> Estimate:
    """Spearman's coefficient with the noise rate over all trainings."""
    key = stream(0, "claims", "G3")
    test = spearman_test(curve["noise"].to_numpy(dtype=np.float64), curve["ratio"].to_numpy(dtype=np.float64), key)
    if test is None:
        return untestable(
            "the ratio of norms is the same in all trainings: there is nothing to rank", list(curve.index), sql
        )
    curves = [rows.sort_values("noise") for _, rows in curve.groupby(list(SEEDS)) if len(rows) >= 3]
    own = [rank_correlation(rows["noise"].to_numpy(), rows["ratio"].to_numpy()) for rows in curves]
    each = [rho for rho in own if rho is not None]
    reason = (
        f"Spearman of ratio and noise rate, {len(curve)} trainings at {curve['noise'].nunique()} rates: p = {test.p:.2g}; "
        f"p must be below {SIGNIFICANT}; by seed {listed(each) or 'unknown'}"
    )
    return ranked(test, each, len(curve[list(SEEDS)].drop_duplicates()), reason, list(curve.index), sql)


CLAIMS = (
    Claim(
        "G3",
        "A.2, Figure 11",
        "the ratio of noisy to clean gradient norms: slightly below 1 at 1 % noise, very high at 99 %",
        "gradients",
        by_noise,
        here({"noise0.01": 1.0, "noise0.99": None, "trend": None}),
        memorizing=False,
        settings=of_stage("gradients", without=("noise",)),
        beside={CHECKPOINT: of_stage("gradients", without=("noise",), at=CHECKPOINT)},
        trainings=lambda part: {
            "noise": {"noise0.01": 0.01, "noise0.99": (0.01, 0.99)}.get(part, (0.01, 0.1, 0.99)),
            "dropout": "none",
        },
    ),
)


def _curve(subject: Subject) -> Drawn:
    """The ratio of norms against the noise rate. Nothing with fewer than three rates."""
    noisy = with_noise(subject)
    if len({config["noise"] for config in noisy.configs.values()}) < 3:
        return []
    curve = curve_of(noisy)
    levels = by_rate(curve)
    table = curve.assign(rate=100 * curve["noise"]).pivot_table(index=list(SEEDS), columns="rate", values="ratio")
    ratio = replace(line("noisy / clean", table, of_trainings), values=[level.printed for level in levels.values()])
    means = [1.0, *(level.value for level in levels.values())]
    return [
        Curves(
            titled(subject),
            {"": [ratio]},
            "label noise, %",
            "ratio of norms, mean over layers",
            sql_of(noisy),
            y_range=decades(means),
            log_y=True,
            rule=(1.0, "equal"),
        )
    ]


EXHIBITS = (
    Exhibit(
        "fig11",
        "Figure 11",
        "The ratio of noisy to clean gradient norms at 1 % to 99 % label noise",
        "A.2",
        "Norms are means over all epochs. The paper finds the noisy norm slightly below the clean one at 1 % noise, and "
        "very high at 99 %.",
        "memloc sweep noise-curve",
        partial(measured, without=("noise",)),
        per_setting(_curve),
        Wanted(("cifar10",), ("resnet9",)),
        claims=("G3",),
        memorizing=False,
    ),
)
