"""The searches of neurons that flip a prediction (paper §6.1), as every claim about them takes them.

Frames are eligible rows of `flips` of one setting's analyses: trial, data_seed, repeat, example, noisy, count (max_neurons
where censored), accuracies. Repeats of an example in a training are averaged first. Trainings with the same data_seed share
their examples.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations, among
from memloc.statistics import Bools, Floats
from memloc.statistics.quantities import training_table

NAMES = {False: "clean", True: "noisy"}
ONE_SIDED = "no training has both clean and noisy examples that were flipped"


def flip_rows(observations: Observations, analyses: Iterable[str]) -> tuple[pd.DataFrame, str]:
    """The eligible rows of analyses of stage flips, and the SQL that returns them."""
    rows = observations.flips[observations.flips["analysis"].isin(set(analyses))]
    return observations.with_data_seed(rows), f"SELECT * FROM flip_counts WHERE {among('analysis', analyses)}"


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


def trials(frame: pd.DataFrame) -> list[str]:
    return sorted(set(frame["trial"]))
