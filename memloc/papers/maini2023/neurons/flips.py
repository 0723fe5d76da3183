"""F1–F5, Figure 5: how many neurons carry an example's prediction, where they are, what closing them costs (§6.1, §6.2)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from memloc.analysis.closings import Closings
from memloc.analysis.observed import Observed
from memloc.analysis.searches import Searches
from memloc.papers.charts import Curves, Dots, Line, line
from memloc.papers.claims import Case, Claim, here, of_stage
from memloc.papers.deciding import POSITIVE, Estimate, away, decided, estimated, reaching, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.maini2023.widths import Picture, against_width
from memloc.seeds import stream
from memloc.statistics import Floats, in_brackets
from memloc.statistics.quantities import accuracy, difference_of_means, mean_over_examples, ratio_of_means, share_below
from memloc.statistics.regions import Region
from memloc.statistics.scales import COUNT, SHARE
from memloc.statistics.total_variation import shares_apart
from memloc.statistics.trainings import OverTrainings

NAMES = {False: "clean", True: "noisy"}
ONE_SIDED = "no training has both clean and noisy examples that were flipped"
FEW = 10
FEWER = Region(hi=1.0, open_hi=True)  # F1: noisy over clean
MOST = Region(lo=0.9, open_lo=True)  # F2: the share that needs few neurons
SAME_LAYERS = Region(hi=0.15)  # F4: total variation of layer shares


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
            estimates[part] = estimated(replace(quantity, scale=COUNT), None, said, trials, sql)
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


class LayerShares(NamedTuple):
    """What a setting's closings say: F4, and per set and layer the mean over examples of the share of their closings."""

    estimate: Estimate
    layers: list[str]
    means: dict[str, list[OverTrainings | None]]


def same_layers(closings: Closings, sql: str) -> Estimate:
    """F4: the total variation of the layer shares of clean and of noisy examples' closings is at most 0.15."""
    if not closings.trials:
        return untestable(ONE_SIDED, closings.searched, sql)
    tables = (closings.share, closings.first)
    quantity, first = (shares_apart(shares, closings.noisy, stream(0, "claims", "F4")) for shares in tables)
    compared = (
        "total variation of the layer shares of closed neurons, clean against noisy examples, each example counting once; "
        f"by the first closing alone it is {in_brackets(first.printed, 3)}"
    )
    return decided(quantity, SAME_LAYERS, compared, closings.trials, sql)


def layer_shares(one: Observed) -> LayerShares:
    """They are kept for who asks again, and the closings are not."""
    analyses = one.setting.analyses.values()

    def make() -> LayerShares:
        closings = Closings.read(one.observations, analyses)
        estimate = same_layers(closings, one.select("flips", where="eligible"))
        means = {
            name: [_mean_share(closings.share[:, closings.noisy == noisy, k]) for k in range(len(closings.layers))]
            for noisy, name in NAMES.items()
        }
        return LayerShares(estimate, closings.layers, means)

    return one.observations.once(("closings", *sorted(analyses)), make)


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
        "F4",
        "§6.1, Figure 5c",
        "the neurons that flip clean and noisy examples are in the same layers",
        "flips",
        lambda case: layer_shares(case).estimate,
    ),
    Claim(
        "F5",
        "§6.2",
        "flipping clean examples costs more test accuracy than flipping noisy ones",
        "flips",
        lambda case: cost_on_test(*searched(case)),
    ),
)
F1, *_ = CLAIMS


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


def layer_dots(subject: Subject) -> list[Dots]:
    """Figure 5c: the mean over examples of the share of their closings in each layer. F4 is how far the two sets are apart.

    Nothing where no training has closings of both sets.
    """
    estimate, names, means = layer_shares(subject)
    if not names:
        return []
    layers = subject.layers(names)
    values = {name: [of_set[names.index(layer)] for layer in layers] for name, of_set in means.items()}
    title, x_label = subject.titled("(c) Layers"), "share of the neurons closed"
    return [Dots(title, layers, values, x_label, estimate.sql, x_range=(0.0, 1.0))]


def _mean_share(shares: Floats) -> OverTrainings | None:
    """shares: float64[trainings, examples]."""
    mean = mean_over_examples(shares)
    return mean and replace(mean, scale=SHARE)


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
    against_width(
        "width-neurons",
        "flip_counts",
        "Neurons to close until a prediction flips, against the width",
        "The mean number of neurons of noisy and of clean examples (F1). If a wider network is more redundant, an example "
        "needs more of its neurons.",
        (Picture(F1, {"noisy": "noisy", "clean": "clean"}, "neurons"),),
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
