"""F1–F3, F5, Figure 5: how many neurons carry an example's prediction, and what closing them costs (paper §6.1, §6.2).

Frames are eligible rows of `flips` of one setting's analyses: trial, data_seed, repeat, example, noisy, count (max_neurons
where censored), accuracies. Repeats of an example in a training are averaged first. Trainings with the same data_seed share
their examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.observed import Observed, by_example, trials_of, two_sided
from memloc.papers.charts import Curves, Line
from memloc.papers.claims import Case, Claim, Estimates, here, of_stage
from memloc.papers.deciding import POSITIVE, away, decided, reaching, shown, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.lines import line
from memloc.papers.maini2023.neurons.layer_shares import NAMES, ONE_SIDED, layer_dots
from memloc.statistics.quantities import accuracy, difference_of_means, mean_over_examples, ratio_of_means, share_below
from memloc.statistics.regions import Region

FEW = 10
FEWER = Region(hi=1.0, open_hi=True)  # F1: noisy over clean
MOST = Region(lo=0.9, open_lo=True)  # F2: the share that needs few neurons
BINS = 50  # of accuracies, in Figure 5b


def searched(one: Observed) -> tuple[pd.DataFrame, str]:
    """The eligible rows of a setting's searches, and the SQL that returns them."""
    return one.dated("flip_counts"), one.select("flip_counts")


def counts(frame: pd.DataFrame, sql: str, searches: Mapping[bool, int]) -> dict[str, Estimate]:
    """F1: noisy examples need fewer neurons than clean ones: the ratio of mean counts is below 1. Mean counts are shown.

    searches: {noisy: number of rows, eligible or not}; the reasons of mean counts also have the means over these.
    """
    from scipy.stats import mannwhitneyu  # takes half a second; checking a sweep file does not need it

    both = two_sided(frame)
    if both.empty:
        return dict.fromkeys(("noisy", "clean", "ratio"), untestable(ONE_SIDED, trials_of(frame), sql))
    values, noisy = by_example(both, "count")
    estimates = {}
    for part, members in (("noisy", noisy), ("clean", ~noisy)):
        n = searches[part == "noisy"]
        everything = frame["count"][frame["noisy"] == (part == "noisy")].sum() / n
        quantity = mean_over_examples(values[:, members])
        said = (
            f"mean count of {int(members.sum())} {part} examples; it is shown beside the paper's, and their ratio is "
            f"judged; the mean over all {n} searches is {everything:.2f}, where one that is not eligible counts 0"
        )
        if quantity is not None:  # always: every training has both sets
            estimates[part] = shown(quantity, said, trials_of(both), sql)
    ratio = ratio_of_means(values, noisy)
    if ratio is None:
        return {**estimates, "ratio": untestable("the mean count of a set is 0 in a training", trials_of(both), sql)}
    means = np.nanmean(values, axis=0)
    p = float(mannwhitneyu(means[noisy], means[~noisy], alternative="less").pvalue)
    compared = f"mean count of noisy over clean examples (Mann–Whitney over examples: p = {p:.2g})"
    return {**estimates, "ratio": decided(ratio, FEWER, compared, trials_of(both), sql)}


def few_neurons(frame: pd.DataFrame, sql: str) -> Estimate:
    """F2: the share of noisy examples whose count, averaged over trainings, is below 10, is above 0.9.

    As the paper averages counts before it speaks of examples. A training's own value is the share by its own counts.
    """
    both = two_sided(frame)
    if both.empty:
        return untestable(ONE_SIDED, trials_of(frame), sql)
    values, noisy = by_example(both, "count")
    own = values[:, noisy]
    averaged = f", on average over {len(own)} trainings" if len(own) > 1 else ""
    compared = f"share of {own.shape[1]} noisy examples that need fewer than {FEW} neurons{averaged}"
    return decided(share_below(own, FEW), MOST, compared, trials_of(both), sql)


def accuracy_left(
    frame: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], sql: str, paper: float | None = None
) -> Estimate:
    """F3: accuracy on the training set after flipping, noisy minus clean examples, reaches the paper's; else is above 0.

    sizes: {trial: (|S_c|, |S_n|)}; training accuracy = (|S_c|·clean_acc + |S_n|·noisy_acc) / n.
    """
    compared = "accuracy left on the training set after flipping noisy minus clean examples"
    return _difference(_with_left(frame, sizes), "left", compared, paper, sql)


def _with_left(frame: pd.DataFrame, sizes: Mapping[str, tuple[int, int]]) -> pd.DataFrame:
    """With a column left: accuracy on the training set after flipping."""
    clean, noisy = (frame["trial"].map({t: s[k] for t, s in sizes.items()}) for k in (0, 1))
    return frame.assign(left=(clean * frame["clean_acc"] + noisy * frame["noisy_acc"]) / (clean + noisy))


def cost_on_test(frame: pd.DataFrame, sql: str) -> Estimate:
    """F5: test accuracy after flipping, noisy minus clean examples, is above 0."""
    return _difference(frame, "test_acc", "test accuracy left after flipping noisy minus clean examples", None, sql)


def _difference(frame: pd.DataFrame, column: str, compared: str, paper: float | None, sql: str) -> Estimate:
    there = frame.dropna(subset=[column])
    if there.empty:
        return untestable("no accuracies after flipping: `flips.post_eval` was 0", trials_of(frame), sql)
    both = two_sided(there)
    quantity = None if both.empty else difference_of_means(*by_example(both, column))
    if quantity is None:
        return untestable(ONE_SIDED, trials_of(there), sql)
    region = POSITIVE if paper is None else reaching(paper)
    return decided(quantity, region, compared + away(paper, quantity.value), trials_of(both), sql)


def _f1(case: Case) -> Estimates:
    searches = case.rows("searches").groupby("noisy")["n"].sum()
    return counts(*searched(case), {bool(noisy): int(n) for noisy, n in searches.items()})


def _f3(case: Case) -> Estimate:
    frame, sql = searched(case)
    return accuracy_left(frame, _sizes(case), sql, case.numbers.get(""))


def _sizes(one: Observed) -> dict[str, tuple[int, int]]:
    sizes = {t: one.observations.sizes[t] for t in one.trials}
    return {t: (size.clean, size.noisy) for t, size in sizes.items()}


CLAIMS = (
    Claim(
        "F1",
        "§6.1, Figure 5a",
        "noisy examples need fewer neurons to flip",
        "flips",
        _f1,
        here({"noisy": 5.1, "clean": 15.7, "ratio": 5.1 / 15.7}),
    ),
    Claim(
        "F2",
        "§6.1",
        "more than 90 % of the noisy examples need fewer than 10 neurons",
        "flips",
        lambda case: few_neurons(*searched(case)),
        here({"": 0.9}),
    ),
    Claim(
        "F3",
        "§6.1, Figure 5b",
        "after flipping a noisy example more accuracy is left on the training set than after a clean one",
        "flips",
        _f3,
        here({"": 0.1}),
    ),
    Claim(
        "F5",
        "§6.2",
        "flipping clean examples costs more test accuracy than flipping noisy ones",
        "flips",
        lambda case: cost_on_test(*searched(case)),
    ),
)


def _neurons(subject: Subject) -> Drawn:
    """Figure 5a."""
    frame, sql = searched(subject)
    return _cumulative(frame, "count", subject.titled("(a) Neurons"), "neurons closed until the prediction flips", sql)


def _left(subject: Subject) -> Drawn:
    """Figure 5b. Accuracies are rounded up, so that the share at each of the 51 values is exact."""
    frame, sql = searched(subject)
    left = _with_left(frame, _sizes(subject)).dropna(subset=["left"])
    rounded = left.assign(left=np.ceil(BINS * left["left"] - 1e-9) / BINS)
    return _cumulative(rounded, "left", subject.titled("(b) Accuracy left"), "training accuracy left", sql)


def _cumulative(frame: pd.DataFrame, column: str, title: str, x_label: str, sql: str) -> list[Curves]:
    """The share of searches at or below each value, a line for each set. Nothing without searches."""
    both = two_sided(frame)
    rows = frame if both.empty else both
    values = sorted(rows[column].unique())
    sets = {name: rows[rows["noisy"] == noisy] for noisy, name in NAMES.items()}
    lines = [_shares_up_to(mine, column, values, name) for name, mine in sets.items() if len(mine)]
    return [Curves(title, {"": lines}, x_label, "share of searches", sql, y_range=(0.0, 1.0), steps=True)] if lines else []


def _shares_up_to(rows: pd.DataFrame, column: str, values: list[float], name: str) -> Line:
    searches = rows.groupby(["trial", column]).size().unstack(column).reindex(columns=values).fillna(0.0)
    examples = len(rows[["data_seed", "example"]].drop_duplicates())
    return line(name, searches.cumsum(axis=1).div(searches.sum(axis=1), axis=0), partial(accuracy, n=examples))


EXHIBITS = (
    Exhibit(
        "fig05",
        "Figure 5",
        "Neurons to close until a prediction flips; what that costs; where they are",
        "§6.1",
        "The paper finds that noisy examples need about a third as many neurons. Closing them costs less accuracy. They lie "
        "in the same layers. In (c) each example weighs the same, however many neurons it needs.",
        "memloc sweep flips --only block=flips",
        of_stage("flips"),
        per_setting(lambda subject: [*_neurons(subject), *_left(subject), *layer_dots(subject)]),
        claims=("F1", "F2", "F3", "F4", "F5"),
        shown=4,
    ),
)
PICTURE = replace(
    EXHIBITS[0],
    id="pic-neurons",
    name="Figure 5a",
    title="Neurons to close until a prediction flips",
    shows="The share of searches that have flipped the prediction when so many neurons are closed.",
    draw=per_setting(_neurons),
    claims=(),
    shown=1,
)
