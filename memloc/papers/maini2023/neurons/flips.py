"""F1–F3, F5, Figure 5: how many neurons carry an example's prediction, and what closing them costs (paper §6.1, §6.2)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.observed import Observed
from memloc.analysis.searches import Searches
from memloc.papers.charts import Curves, Line
from memloc.papers.claims import Case, Claim, here, of_stage
from memloc.papers.deciding import POSITIVE, away, decided, reaching, shown, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.lines import line
from memloc.papers.maini2023.neurons.layer_shares import NAMES, ONE_SIDED, layer_dots
from memloc.statistics.quantities import accuracy, difference_of_means, mean_over_examples, ratio_of_means, share_below
from memloc.statistics.regions import Region
from memloc.statistics.scales import COUNT

FEW = 10
FEWER = Region(hi=1.0, open_hi=True)  # F1: noisy over clean
MOST = Region(lo=0.9, open_lo=True)  # F2: the share that needs few neurons


def searched(one: Observed) -> tuple[Searches, str]:
    """The searches of a setting, and the SQL that returns their rows."""
    return Searches.read(one.observations, one.setting.analyses.values()), one.select("flip_counts")


def counts(searches: Searches, sql: str) -> dict[str, Estimate]:
    """F1: noisy examples need fewer neurons than clean ones: the ratio of mean counts is below 1. Mean counts are shown."""
    from scipy.stats import mannwhitneyu  # takes half a second; checking a sweep file does not need it

    trials, values, noisy = searches.two_sided("count")
    if not trials:
        return dict.fromkeys(("noisy", "clean", "ratio"), untestable(ONE_SIDED, searches.trials, sql))
    estimates = {}
    for part, members in (("noisy", noisy), ("clean", ~noisy)):
        n = searches.rows[part == "noisy"]
        quantity = mean_over_examples(values[:, members])
        said = (
            f"mean count of {int(members.sum())} {part} examples; it is shown beside the paper's, and their ratio is "
            f"judged; the mean over all {n} searches is {searches.closed[part == 'noisy'] / n:.2f}, where one that is not "
            "eligible counts 0"
        )
        if quantity is not None:  # always: every training has both sets
            estimates[part] = shown(replace(quantity, scale=COUNT), said, trials, sql)
    ratio = ratio_of_means(values, noisy)
    if ratio is None:
        return {**estimates, "ratio": untestable("the mean count of a set is 0 in a training", trials, sql)}
    means = np.nanmean(values, axis=0)
    p = float(mannwhitneyu(means[noisy], means[~noisy], alternative="less").pvalue)
    compared = f"mean count of noisy over clean examples (Mann–Whitney over examples: p = {p:.2g})"
    return {**estimates, "ratio": decided(ratio, FEWER, compared, trials, sql)}


def _limit(case: Case) -> int:
    """The number of neurons at which the first of the searches end."""
    return min(int(case.observations.configs[a]["max_neurons"]) for a in case.setting.analyses.values())


def few_neurons(searches: Searches, sql: str, limit: int = FEW) -> Estimate:
    """F2: the share of noisy examples whose count, averaged over trainings, is below 10, is above 0.9.

    As the paper averages counts before it speaks of examples. A training's own value is the share by its own counts.
    """
    trials, values, noisy = searches.two_sided("count")
    if not trials:
        return untestable(ONE_SIDED, searches.trials, sql)
    if limit < FEW:
        return untestable(f"searches end at {limit} neurons, so nobody knows which need fewer than {FEW}", trials, sql)
    own = values[:, noisy]
    averaged = f", on average over {len(own)} trainings" if len(own) > 1 else ""
    compared = f"share of {own.shape[1]} noisy examples that need fewer than {FEW} neurons{averaged}"
    return decided(share_below(own, FEW), MOST, compared, trials, sql)


def accuracy_left(searches: Searches, sql: str, paper: float | None = None) -> Estimate:
    """F3: accuracy on the training set after flipping, noisy minus clean examples, reaches the paper's; else is above 0."""
    compared = "accuracy left on the training set after flipping noisy minus clean examples"
    return _difference(searches, "left", compared, paper, sql)


def cost_on_test(searches: Searches, sql: str) -> Estimate:
    """F5: test accuracy after flipping, noisy minus clean examples, is above 0."""
    return _difference(searches, "test_acc", "test accuracy left after flipping noisy minus clean examples", None, sql)


def _difference(searches: Searches, column: str, compared: str, paper: float | None, sql: str) -> Estimate:
    there = searches.having(column)
    if not there:
        return untestable("no accuracies after flipping: `flips.post_eval` was 0", searches.trials, sql)
    trials, values, noisy = searches.two_sided(column)
    quantity = difference_of_means(values, noisy) if trials else None
    if quantity is None:
        return untestable(ONE_SIDED, there, sql)
    region = POSITIVE if paper is None else reaching(paper)
    return decided(quantity, region, compared + away(paper, quantity.value), trials, sql)


CLAIMS = (
    Claim(
        "F1",
        "§6.1, Figure 5a",
        "noisy examples need fewer neurons to flip",
        "flips",
        lambda case: counts(*searched(case)),
        here({"noisy": 5.1, "clean": 15.7, "ratio": 5.1 / 15.7}),
    ),
    Claim(
        "F2",
        "§6.1",
        "more than 90 % of the noisy examples need fewer than 10 neurons",
        "flips",
        lambda case: few_neurons(*searched(case), limit=_limit(case)),
        here({"": 0.9}),
    ),
    Claim(
        "F3",
        "§6.1, Figure 5b",
        "after flipping a noisy example more accuracy is left on the training set than after a clean one",
        "flips",
        lambda case: accuracy_left(*searched(case), case.numbers.get("")),
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
    return _cumulative(subject, "count", "(a) Neurons", "neurons closed until the prediction flips")


def _left(subject: Subject) -> Drawn:
    """Figure 5b."""
    return _cumulative(subject, "left", "(b) Accuracy left", "training accuracy left")


def _cumulative(subject: Subject, column: str, name: str, x_label: str) -> list[Curves]:
    """The share of searches at or below each value, a line for each set. Nothing without searches."""
    searches, sql = searched(subject)
    rows, examples = searches.tally(column)
    values = sorted(rows["value"].unique())
    lines = [
        _shares_up_to(mine, values, NAMES[noisy], examples[noisy])
        for noisy in NAMES
        if len(mine := rows[rows["noisy"] == noisy])
    ]
    title = subject.titled(name)
    return [Curves(title, {"": lines}, x_label, "share of searches", sql, y_range=(0.0, 1.0), steps=True)] if lines else []


def _shares_up_to(rows: pd.DataFrame, values: list[float], name: str, examples: int) -> Line:
    searches = rows.pivot(index="trial", columns="value", values="searches").reindex(columns=values).fillna(0.0)
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
