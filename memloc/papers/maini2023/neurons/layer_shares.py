"""F4, Figure 5c: the layers in which clean and noisy examples' neurons are closed (paper §6.1)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from memloc.analysis.observed import Observed, trials_of, two_sided
from memloc.papers.charts import Dots
from memloc.papers.claims import Claim
from memloc.papers.deciding import decided, untestable
from memloc.papers.exhibits import Subject
from memloc.papers.judgement import Estimate
from memloc.seeds import stream
from memloc.statistics import Bools, Floats, in_brackets
from memloc.statistics.quantities import mean_over_examples
from memloc.statistics.regions import Region
from memloc.statistics.scales import SHARE
from memloc.statistics.total_variation import shares_apart
from memloc.statistics.trainings import OverTrainings

NAMES = {False: "clean", True: "noisy"}
ONE_SIDED = "no training has both clean and noisy examples that were flipped"
SAME_LAYERS = Region(hi=0.15)  # F4: total variation of layer shares


def same_layers(closings: pd.DataFrame, sql: str) -> Estimate:
    """F4: the total variation of the layer shares of clean and of noisy examples' closings is at most 0.15.

    closings: columns trial, data_seed, example, noisy, layer, share (of the closings of that example in that training),
    first (the same of its first closing alone).
    """
    both = two_sided(closings)
    if both.empty:
        return untestable(ONE_SIDED, trials_of(closings), sql)
    tables = [shares_by_training(both, column) for column in ("share", "first")]
    quantity, first = (shares_apart(*table, stream(0, "claims", "F4")) for table in tables)
    compared = (
        "total variation of the layer shares of closed neurons, clean against noisy examples, each example counting once; "
        f"by the first closing alone it is {in_brackets(first.printed, 3)}"
    )
    return decided(quantity, SAME_LAYERS, compared, trials_of(both), sql)


def shares_by_training(closings: pd.DataFrame, column: str) -> tuple[Floats, Bools]:
    """(float64[trainings, examples, layers], NaN where a training does not have the example; bool[examples], noisy).

    closings: columns trial, data_seed, example, noisy, layer and `column`, which adds up to 1 over an example's layers.
    """
    units = ["data_seed", "example", "noisy"]
    wide = closings.pivot_table(index=["trial", *units], columns="layer", values=column, aggfunc="sum", fill_value=0.0)
    examples = wide.reset_index("trial").index
    names, training = np.unique(wide.index.get_level_values("trial").to_numpy(dtype=str), return_inverse=True)
    columns = examples.unique().sort_values()
    shares = np.full((len(names), len(columns), wide.shape[1]), np.nan)
    shares[training, columns.get_indexer(examples)] = wide.to_numpy(dtype=np.float64)
    return shares, columns.get_level_values("noisy").to_numpy(dtype=bool)


def _closings(one: Observed) -> tuple[pd.DataFrame, str]:
    return one.dated("closings"), one.select("flips", where="eligible")


CLAIMS = (
    Claim(
        "F4",
        "§6.1, Figure 5c",
        "the neurons that flip clean and noisy examples are in the same layers",
        "flips",
        lambda case: same_layers(*_closings(case)),
    ),
)


def layer_dots(subject: Subject) -> list[Dots]:
    """Figure 5c: the mean over examples of the share of their closings in each layer. F4 is how far the two sets are apart.

    Nothing where no training has closings of both sets.
    """
    closings, sql = _closings(subject)
    both = two_sided(closings)
    if both.empty:
        return []
    names = sorted(set(both["layer"]))  # as `shares_by_training` has them
    shares, noisy = shares_by_training(both, "share")
    layers = subject.layers(names)
    values = {
        NAMES[of_noisy]: [_mean_share(shares[:, noisy == of_noisy, names.index(layer)]) for layer in layers]
        for of_noisy in NAMES
    }
    return [Dots(subject.titled("(c) Layers"), layers, values, "share of the neurons closed", sql, x_range=(0.0, 1.0))]


def _mean_share(shares: Floats) -> OverTrainings | None:
    """shares: float64[trainings, examples]."""
    mean = mean_over_examples(shares)
    return mean and replace(mean, scale=SHARE)
