"""F1–F5: how many neurons carry an example's prediction, where they are, and what closing them costs (paper §6.1, §6.2).

Frames are eligible rows of `flips` of one setting's analyses: trial, data_seed, repeat, example, noisy, count (max_neurons
where censored), accuracies. Repeats of an example in a training are averaged first. Trainings with the same data_seed share
their examples.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from memloc.papers.maini2023.deciding import decided, over, untestable
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Judge, Parts, of_stage
from memloc.papers.maini2023.layer_shares import shares_apart, shares_by_training
from memloc.papers.maini2023.observations import Observations, among
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.reaching import away, reaching
from memloc.papers.maini2023.settings import Setting
from memloc.statistics import Bools, Floats, in_brackets
from memloc.statistics.quantities import (
    accuracy,
    difference_of_means,
    mean_over_examples,
    ratio_of_means,
    training_table,
)
from memloc.statistics.regions import Region
from memloc.statistics.scales import SHARE
from memloc.statistics.trainings import OverTrainings

FEW = 10
FEWER = Region(hi=1.0, open_hi=True)  # F1: noisy over clean
MOST = Region(lo=0.9, open_lo=True)  # F2: the share that needs few neurons
MORE_LEFT = Region(lo=0.0, open_lo=True)  # F3 where the paper has no number, F5
SAME_LAYERS = Region(hi=0.15)  # F4: total variation of layer shares
ONE_SIDED = "no training has both clean and noisy examples that were flipped"


def table(frame: pd.DataFrame, column: str) -> tuple[Floats, Bools]:
    """(float64[trainings, examples], NaN where a training does not have the example; bool[examples], noisy).

    data_seed decides which examples are noisy. So an example has a column for each data_seed.
    """
    units = frame.groupby(["data_seed", "example", "noisy"], dropna=False).ngroup().to_numpy()
    values, rows = training_table(frame[column].to_numpy(dtype=np.float64), frame["trial"].to_numpy(dtype=str), units)
    return values, frame["noisy"].to_numpy(dtype=bool)[rows]


def two_sided(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of trainings that have both clean and noisy examples."""
    return frame[frame.groupby("trial")["noisy"].transform("nunique") == 2]


def counts(frame: pd.DataFrame, sql: str, searches: Mapping[bool, int]) -> dict[str, Estimate]:
    """F1: noisy examples need fewer neurons than clean ones: the ratio of mean counts is below 1. Mean counts are shown.

    searches: {noisy: number of rows, eligible or not}; the reasons of mean counts also have the means over these.
    """
    from scipy.stats import mannwhitneyu  # takes half a second; checking a sweep file does not need it

    both = two_sided(frame)
    if both.empty:
        return dict.fromkeys(("noisy", "clean", "ratio"), untestable(ONE_SIDED, _trials(frame), sql))
    values, noisy = table(both, "count")
    estimates = {}
    for part, members in (("noisy", noisy), ("clean", ~noisy)):
        n = searches[part == "noisy"]
        everything = frame["count"][frame["noisy"] == (part == "noisy")].sum() / n
        quantity = mean_over_examples(values[:, members])
        shown = (
            f"mean count of {int(members.sum())} {part} examples; it is shown beside the paper's, and their ratio is "
            f"judged; the mean over all {n} searches is {everything:.2f}, where one that is not eligible counts 0"
        )
        if quantity is not None:  # always: every training has both sets
            estimates[part] = Estimate(quantity.printed, None, f"{shown}; {over(quantity)}", _trials(both), sql)
    ratio = ratio_of_means(values, noisy)
    if ratio is None:
        return {**estimates, "ratio": untestable("the mean count of a set is 0 in a training", _trials(both), sql)}
    means = np.nanmean(values, axis=0)
    p = float(mannwhitneyu(means[noisy], means[~noisy], alternative="less").pvalue)
    compared = f"mean count of noisy over clean examples (Mann–Whitney over examples: p = {p:.2g})"
    return {**estimates, "ratio": decided(ratio, FEWER, compared, _trials(both), sql)}


def few_neurons(frame: pd.DataFrame, sql: str) -> Estimate:
    """F2: the share of noisy examples whose count, averaged over trainings, is below 10, is above 0.9.

    As the paper averages counts before it speaks of examples. A training's own value is the share by its own counts.
    """
    both = two_sided(frame)
    if both.empty:
        return untestable(ONE_SIDED, _trials(frame), sql)
    values, noisy = table(both, "count")
    own = values[:, noisy]
    there = ~np.isnan(own)
    share = float((np.nanmean(own, axis=0) < FEW).mean())
    each = ((own < FEW) & there).sum(axis=1) / there.sum(axis=1)
    quantity = OverTrainings(share, tuple(each.tolist()), accuracy([share], own.shape[1]).examples, SHARE)
    averaged = f", on average over {len(own)} trainings" if len(own) > 1 else ""
    compared = f"share of {own.shape[1]} noisy examples that need fewer than {FEW} neurons{averaged}"
    return decided(quantity, MOST, compared, _trials(both), sql)


def accuracy_left(
    frame: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], sql: str, paper: float | None = None
) -> Estimate:
    """F3: accuracy on the training set after flipping, noisy minus clean examples, reaches the paper's; else is above 0.

    sizes: {trial: (|S_c|, |S_n|)}; training accuracy = (|S_c|·clean_acc + |S_n|·noisy_acc) / n.
    """
    clean, noisy = (frame["trial"].map({t: s[k] for t, s in sizes.items()}) for k in (0, 1))
    left = (clean * frame["clean_acc"] + noisy * frame["noisy_acc"]) / (clean + noisy)
    compared = "accuracy left on the training set after flipping noisy minus clean examples"
    return _difference(frame.assign(left=left), "left", compared, paper, sql)


def cost_on_test(frame: pd.DataFrame, sql: str) -> Estimate:
    """F5: test accuracy after flipping, noisy minus clean examples, is above 0."""
    return _difference(frame, "test_acc", "test accuracy left after flipping noisy minus clean examples", None, sql)


def _difference(frame: pd.DataFrame, column: str, compared: str, paper: float | None, sql: str) -> Estimate:
    there = frame.dropna(subset=[column])
    if there.empty:
        return untestable("no accuracies after flipping: `flips.post_eval` was 0", _trials(frame), sql)
    both = two_sided(there)
    quantity = None if both.empty else difference_of_means(*table(both, column))
    if quantity is None:
        return untestable(ONE_SIDED, _trials(there), sql)
    region = MORE_LEFT if paper is None else reaching(paper)
    return decided(quantity, region, compared + away(paper, quantity.value), _trials(both), sql)


def same_layers(closings: pd.DataFrame, sql: str) -> Estimate:
    """F4: the total variation of the layer shares of clean and of noisy examples' closings is at most 0.15.

    closings: columns trial, data_seed, example, noisy, layer, share (of the closings of that example in that training),
    first (the same of its first closing alone).
    """
    both = two_sided(closings)
    if both.empty:
        return untestable(ONE_SIDED, _trials(closings), sql)
    quantity, first = (shares_apart(*shares_by_training(both, column)) for column in ("share", "first"))
    compared = (
        "total variation of the layer shares of closed neurons, clean against noisy examples, each example counting once; "
        f"by the first closing alone it is {in_brackets(first.printed, 3)}"
    )
    return decided(quantity, SAME_LAYERS, compared, _trials(both), sql)


def _trials(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["trial"]))


# --- on a store -------------------------------------------------------------------------------------------------------


def flip_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """The eligible rows of `flips` of a setting, and the SQL that returns them."""
    sql = f"SELECT * FROM flip_counts WHERE {among('analysis', setting.analyses.values())}"
    return observations.with_data_seed(observations.rows(observations.flips, setting)), sql


def _f1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    searches = observations.rows(observations.searches, setting).groupby("noisy")["n"].sum()
    return counts(*flip_rows(observations, setting), {bool(noisy): int(n) for noisy, n in searches.items()})


def _f2(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return {"": few_neurons(*flip_rows(observations, setting))}


def _f3(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = flip_rows(observations, setting)
    sizes = {t: (observations.sizes[t].clean, observations.sizes[t].noisy) for t in setting.trials}
    return {"": accuracy_left(frame, sizes, sql, numbers.get(""))}


def _f4(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    sql = f"SELECT * FROM flips WHERE eligible AND {among('analysis', setting.analyses.values())}"
    closings = observations.with_data_seed(observations.rows(observations.closings, setting))
    return {"": same_layers(closings, sql)}


def _f5(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return {"": cost_on_test(*flip_rows(observations, setting))}


JUDGES = {
    "F1": Judge(of_stage("flips"), _f1),
    "F2": Judge(of_stage("flips"), _f2),
    "F3": Judge(of_stage("flips"), _f3),
    "F4": Judge(of_stage("flips"), _f4),
    "F5": Judge(of_stage("flips"), _f5),
}
