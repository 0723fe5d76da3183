"""F4, Figure 5c: the layers in which clean and noisy examples' neurons are closed (paper §6.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from memloc.analysis.closings import Closings
from memloc.analysis.observed import Observed
from memloc.papers.charts import Dots
from memloc.papers.claims import Claim
from memloc.papers.deciding import decided, untestable
from memloc.papers.exhibits import Subject
from memloc.papers.judgement import Estimate
from memloc.seeds import stream
from memloc.statistics import Floats, in_brackets
from memloc.statistics.quantities import mean_over_examples
from memloc.statistics.regions import Region
from memloc.statistics.scales import SHARE
from memloc.statistics.total_variation import shares_apart
from memloc.statistics.trainings import OverTrainings

NAMES = {False: "clean", True: "noisy"}
ONE_SIDED = "no training has both clean and noisy examples that were flipped"
SAME_LAYERS = Region(hi=0.15)  # F4: total variation of layer shares


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
        "F4",
        "§6.1, Figure 5c",
        "the neurons that flip clean and noisy examples are in the same layers",
        "flips",
        lambda case: layer_shares(case).estimate,
    ),
)


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
