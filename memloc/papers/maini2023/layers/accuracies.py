"""Accuracies of sets of examples, layer by layer: what rewinding and retraining share.

Each training weighs the same. n is the number of distinct examples (data_seed, example) of these trainings; None where the
store does not say it, and then intervals show the trainings' spread alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

import pandas as pd

from memloc.analysis.observations import Observations, among
from memloc.analysis.settings import Setting
from memloc.papers.charts import Curves, Line
from memloc.papers.lines import by_training, line
from memloc.statistics.quantities import accuracy, mean_of_trainings
from memloc.statistics.regions import Region
from memloc.statistics.scales import SHARE
from memloc.statistics.trainings import OverTrainings, pooled

Sets: TypeAlias = Mapping[str, tuple[str, int | None]]  # {name of a set: (the column of its accuracy, n)}

KEPT = 0.9  # noisy accuracy that counts as kept, or as reached
MOST = Region(lo=0.5, open_lo=True)  # L1, R1: shares of groups
AXES = {"rewind": "epoch that the layer is set back to", "retrain": "epoch of retraining"}


def averaged(shares: Sequence[float], n: int | None) -> OverTrainings:
    return mean_of_trainings(shares, SHARE) if n is None else accuracy(shares, n)


def accuracies(table: pd.DataFrame, n: int | None) -> list[OverTrainings]:
    """An accuracy for each column of trainings × cells; the cells of two trainings share their spread."""
    return pooled([averaged(list(table[cell]), n) for cell in table.columns])


def by_label(observations: Observations, setting: Setting) -> Sets:
    """The correctly labeled and the mislabeled examples of a setting; `seed` does not change which they are."""
    sizes = {observations.trials[t]["data_seed"]: observations.sizes[t] for t in setting.trials}.values()
    return {"clean": ("clean_acc", sum(s.clean for s in sizes)), "noisy": ("noisy_acc", sum(s.noisy for s in sizes))}


def noisy_examples(observations: Observations, setting: Setting) -> int | None:
    """How many distinct mislabeled examples a setting has. None without label noise, where S_n is by C-score."""
    return by_label(observations, setting)["noisy"][1] or None


def by_layer(
    observations: Observations, setting: Setting, title: str, stage: Literal["rewind", "retrain"], sets: Sets | None = None
) -> Curves:
    """The accuracies of the sets over epochs, a panel per layer group. sets: by default by label."""
    rows = observations.rows(observations.table(stage), setting)
    by_set = by_label(observations, setting) if sets is None else sets
    panels = {layer: _lines(rows[rows["layer"] == layer], by_set) for layer in observations.order(setting, rows["layer"])}
    sql = f"SELECT * FROM {stage} WHERE {among('analysis', setting.analyses.values())} ORDER BY trial, layer, epoch"
    return Curves(title, panels, AXES[stage], "accuracy", sql, y_range=(0.0, 1.0))


def learning(observations: Observations, setting: Setting, title: str) -> Curves:
    """The learning curves of a setting's trainings. Clean and noisy accuracies are those of the training pass."""
    where = among("trial", setting.trials)
    sql = f"SELECT trial, epoch, clean_acc, noisy_acc, test_acc FROM epochs WHERE {where} ORDER BY trial, epoch"
    rows = observations.epochs[observations.epochs["trial"].isin(setting.trials)]
    sets = {**by_label(observations, setting), "test": ("test_acc", observations.test_size(setting.scope.dataset))}
    return Curves(title, {"": _lines(rows, sets)}, "epoch", "accuracy", sql, y_range=(0.0, 1.0))


def _lines(frame: pd.DataFrame, sets: Sets) -> list[Line]:
    """A line over epochs for each set whose accuracy is known. frame: one row per training and epoch."""
    drawn = [line(s, by_training(frame, "epoch", column), partial(averaged, n=n)) for s, (column, n) in sets.items()]
    return [one for one in drawn if any(value is not None for value in one.values)]
