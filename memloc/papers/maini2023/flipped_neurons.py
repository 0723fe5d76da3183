"""F1–F5: how many neurons carry an example's prediction, where they are, and what closing them costs (paper §6.1, §6.2).

Frames are eligible rows of `flips` of one setting's analyses: trial, repeat, example, noisy, count (max_neurons where
censored), accuracies. Trainings and repeats share the examples. All examples of a (training, repeat) share its draws. So
intervals resample both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Judge, Parts, of_stage
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.settings import Setting
from memloc.seeds import stream
from memloc.statistics import Bools, Floats, Interval, bootstrap_crossed, bootstrap_crossed_sets, wilson_interval

FEW = 10
SPLITS = 1000
SAME = 0.05  # so small a total variation counts as none, however sure it is (as for the estimators of flips)


def table(frame: pd.DataFrame, column: str) -> tuple[Floats, Bools]:
    """(float64[(training, repeat), examples], NaN where there is no row; bool[examples], noisy).

    data_seed decides which examples are noisy. An example that is noisy in only some trainings has two columns.
    """
    wide = frame.pivot_table(index=["trial", "repeat"], columns=["noisy", "example"], values=column, aggfunc="mean")
    noisy = wide.columns.get_level_values("noisy").to_numpy(dtype=bool)
    return wide.to_numpy(dtype=np.float64), noisy


def counts(frame: pd.DataFrame, sql: str, searches: Mapping[bool, int]) -> dict[str, Estimate]:
    """F1: noisy examples need fewer neurons. Mann–Whitney of the examples' mean counts, one-sided; the ratio's interval.

    searches: {noisy: number of rows, eligible or not}; the reason also has the means over these.
    """
    from scipy.stats import mannwhitneyu

    values, noisy = table(frame, "count")
    ratio = bootstrap_crossed_sets(values, noisy, "ratio", stream(0, "claims", "F1"))
    if ratio is None:
        return dict.fromkeys(("noisy", "clean", "ratio"), _one_sided(frame, sql))
    means = np.nanmean(values, axis=0)
    p = float(mannwhitneyu(means[noisy], means[~noisy], alternative="less").pvalue)
    trials, over = _trials(frame), _over(frame)
    sizes = f"{int(noisy.sum())} noisy and {int((~noisy).sum())} clean examples"
    compared = f"mean counts of {sizes}: Mann–Whitney p = {p:.2g}, which must be below 0.05"
    estimates = {}
    for part, members in (("noisy", noisy), ("clean", ~noisy)):
        estimate = bootstrap_crossed(values[:, members], stream(0, "claims", "F1", part))
        n = searches[part == "noisy"]
        everything = frame["count"][frame["noisy"] == (part == "noisy")].sum() / n
        also = f"; the mean over all {n} searches is {everything:.2f}, where one that is not eligible counts 0"
        estimates[part] = Estimate(estimate, p < 0.05, f"{compared}{over}{also}", trials, sql)
    reason = f"mean count of noisy over clean; its interval must be below 1{over}"
    return {**estimates, "ratio": Estimate(ratio, ratio.hi is not None and ratio.hi < 1, reason, trials, sql)}


def few_neurons(frame: pd.DataFrame, sql: str) -> Estimate:
    """F2: the share of noisy examples whose mean count over (training, repeat) is below 10; Wilson's interval.

    An example's mean is over the trainings in which it is noisy, as in `table`.
    """
    values, noisy = table(frame, "count")
    if not noisy.any():
        return _one_sided(frame, sql)
    means = np.nanmean(values[:, noisy], axis=0)
    estimate = wilson_interval(float((means < FEW).mean()), len(means))
    averaged = f", on average over {len(values)} (training, repeat)" if len(values) > 1 else ""
    reason = (
        f"share of noisy examples that need fewer than {FEW} neurons{averaged}; it must be above 0.9; "
        f"interval over {len(means)} examples"
    )
    return Estimate(estimate, estimate.value > 0.9, reason, _trials(frame), sql)


def accuracy_left(frame: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], sql: str) -> Estimate:
    """F3: accuracy on the training set after flipping, noisy minus clean examples, is above 0.

    sizes: {trial: (|S_c|, |S_n|)}; training accuracy = (|S_c|·clean_acc + |S_n|·noisy_acc) / n.
    """
    clean, noisy = (frame["trial"].map({t: s[k] for t, s in sizes.items()}) for k in (0, 1))
    left = (clean * frame["clean_acc"] + noisy * frame["noisy_acc"]) / (clean + noisy)
    return _difference(frame.assign(left=left), "left", "F3", "accuracy left on the training set, noisy minus clean", sql)


def cost_on_test(frame: pd.DataFrame, sql: str) -> Estimate:
    """F5: test accuracy after flipping, noisy minus clean examples, is above 0."""
    return _difference(frame, "test_acc", "F5", "test accuracy left after flipping noisy minus clean", sql)


def _difference(frame: pd.DataFrame, column: str, claim: str, what: str, sql: str) -> Estimate:
    there = frame.dropna(subset=[column])
    if there.empty:
        return Estimate(None, None, "no accuracies after flipping: `flips.post_eval` was 0", _trials(frame), sql)
    estimate = bootstrap_crossed_sets(*table(there, column), "difference", stream(0, "claims", claim))
    if estimate is None:
        return _one_sided(frame, sql)
    reason = f"{what} examples; its interval must be above 0{_over(there)}"
    return Estimate(estimate, estimate.lo is not None and estimate.lo > 0, reason, _trials(there), sql)


# --- layers -----------------------------------------------------------------------------------------------------------


def same_layers(closings: pd.DataFrame, trials: list[str], sql: str) -> Estimate:
    """F4: clean and noisy examples have the same layer shares of their first five closings.

    Their total variation must be at most that of halves of the clean examples (95th percentile of random splits), or 0.05.

    closings: columns example, noisy, layer, n (closings there, over trainings and repeats).
    """
    wide = closings.pivot_table(index=["noisy", "example"], columns="layer", values="n", aggfunc="sum", fill_value=0)
    noisy = wide.index.get_level_values("noisy").to_numpy(dtype=bool)
    table = wide.to_numpy(dtype=np.float64)
    if noisy.all() or int((~noisy).sum()) < 2 or not noisy.any():
        return Estimate(None, None, "there are not both clean and noisy examples that were flipped", trials, sql)
    apart = total_variation(table[noisy].sum(axis=0), table[~noisy].sum(axis=0))
    halves = split_variations(table[~noisy], stream(0, "claims", "F4", "splits"))
    usual = float(np.quantile(halves, 0.95))
    lo, hi = _resampled_variation(table, noisy)
    estimate = Interval(apart, max(0.0, 2 * apart - hi), min(1.0, max(0.0, 2 * apart - lo)))  # as resampling adds variation
    reason = (
        f"total variation of layer shares of the first five closings; it must be at most {max(usual, SAME):.3f} "
        f"(95 % of splits of the clean examples have at most {usual:.3f}; {SAME} counts as nothing); interval over examples"
    )
    return Estimate(estimate, apart <= max(usual, SAME), reason, trials, sql)


def total_variation(one: Floats, other: Floats) -> float:
    """½ Σ |p − q| of two histograms."""
    return 0.5 * float(np.abs(one / one.sum() - other / other.sum()).sum())


def split_variations(table: Floats, generator: np.random.Generator, splits: int = SPLITS) -> list[float]:
    """Total variation between the two halves of random splits of examples; table: [examples, layers]."""
    apart = []
    for _ in range(splits):
        order = generator.permutation(len(table))
        first, second = table[order[: len(table) // 2]].sum(axis=0), table[order[len(table) // 2 :]].sum(axis=0)
        if first.sum() and second.sum():
            apart.append(total_variation(first, second))
    return apart or [0.0]


def _resampled_variation(table: Floats, noisy: Bools) -> tuple[float, float]:
    """Percentiles of the total variation when examples are resampled within each set."""
    generator, sets, drawn = stream(0, "claims", "F4", "interval"), (table[noisy], table[~noisy]), []
    for _ in range(SPLITS):
        one, other = (examples[generator.integers(0, len(examples), len(examples))].sum(axis=0) for examples in sets)
        if one.sum() and other.sum():
            drawn.append(total_variation(one, other))
    lo, hi = np.quantile(drawn, [0.025, 0.975])
    return float(lo), float(hi)


def _one_sided(frame: pd.DataFrame, sql: str) -> Estimate:
    return Estimate(None, None, "there are not both clean and noisy examples that were flipped", _trials(frame), sql)


def _trials(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["trial"]))


def _over(frame: pd.DataFrame) -> str:
    draws = len(frame[["trial", "repeat"]].drop_duplicates())
    return (
        f"; interval over examples and {draws} (training, repeat)" if draws > 1 else "; interval over examples, one training"
    )


# --- on a store -------------------------------------------------------------------------------------------------------


def flip_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """The eligible rows of `flips` of a setting, and the SQL that returns them."""
    sql = f"SELECT * FROM flip_counts WHERE {among('analysis', setting.analyses.values())}"
    return observations.rows(observations.flips, setting), sql


def _f1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    searches = observations.rows(observations.searches, setting).groupby("noisy")["n"].sum()
    return counts(*flip_rows(observations, setting), {bool(noisy): int(n) for noisy, n in searches.items()})


def _f2(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return {"": few_neurons(*flip_rows(observations, setting))}


def _f3(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = flip_rows(observations, setting)
    sizes = {t: (observations.sizes[t].clean, observations.sizes[t].noisy) for t in setting.trials}
    return {"": accuracy_left(frame, sizes, sql)}


def _f4(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    sql = (
        "SELECT noisy, layer, count(*) AS n FROM (SELECT noisy, unnest(layers[1:5]) AS layer FROM flips WHERE eligible "
        f"AND {among('analysis', setting.analyses.values())}) GROUP BY ALL ORDER BY ALL"
    )
    return {"": same_layers(observations.rows(observations.closings, setting), setting.trials, sql)}


def _f5(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return {"": cost_on_test(*flip_rows(observations, setting))}


JUDGES = {
    "F1": Judge(of_stage("flips"), _f1),
    "F2": Judge(of_stage("flips"), _f2),
    "F3": Judge(of_stage("flips"), _f3),
    "F4": Judge(of_stage("flips"), _f4),
    "F5": Judge(of_stage("flips"), _f5),
}
