"""The searches of neurons that flip a prediction (paper §6.1), as every claim about them takes them.

Frames are eligible rows of `flips` of one setting's analyses: trial, data_seed, repeat, example, noisy, count (max_neurons
where censored), accuracies. Repeats of an example in a training are averaged first. Trainings with the same data_seed share
their examples.
"""

from __future__ import annotations

import pandas as pd

from memloc.analysis.observed import Observed, by_example, two_sided
from memloc.statistics import Bools, Floats

NAMES = {False: "clean", True: "noisy"}
ONE_SIDED = "no training has both clean and noisy examples that were flipped"


def searched(one: Observed) -> tuple[pd.DataFrame, str]:
    """The eligible rows of a setting's searches, and the SQL that returns them."""
    return one.dated("flip_counts"), one.select("flip_counts")


def table(frame: pd.DataFrame, column: str) -> tuple[Floats, Bools]:
    """(float64[trainings, examples], NaN where a training does not have the example; bool[examples], noisy)."""
    return by_example(frame, column, "noisy")


def both_sets(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of trainings that have both clean and noisy examples."""
    return two_sided(frame, "noisy")
