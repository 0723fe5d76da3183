"""Accuracies of sets of examples, layer by layer: what rewinding and retraining share.

Each training weighs the same. n is the number of distinct examples (data_seed, example) of these trainings; None or 0 where
the store does not say it, and then intervals show the trainings' spread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, TypeAlias

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observed import Observed
from memloc.papers.charts import Curves, Line, by_training, line
from memloc.papers.exhibits import Drawn, Subject
from memloc.statistics.quantities import share
from memloc.statistics.trainings import OverTrainings, pooled

Sets: TypeAlias = Mapping[str, tuple[str, int | None]]  # {name of a set: (the column of its accuracy, n)}

KEPT = 0.9  # noisy accuracy that counts as kept, or as reached
AXES = {"rewind": "epoch that the layer is set back to", "retrain": "epoch of retraining"}


def accuracies(table: pd.DataFrame, n: int | None) -> list[OverTrainings]:
    """An accuracy for each column of trainings × cells; the cells of two trainings share their spread."""
    return pooled([share(list(table[cell]), n) for cell in table.columns])


def by_label(one: Observed) -> Sets:
    """The correctly labeled and the mislabeled examples."""
    return {name: (f"{name}_acc", one.examples(name)) for name in ("clean", "noisy")}


def by_layer(subject: Subject, title: str, stage: Literal["rewind", "retrain"], sets: Sets) -> Curves:
    """The accuracies of the sets over epochs, a panel per layer group."""
    rows, sql = subject.rows(stage), subject.select(stage, "trial, layer, epoch")
    panels = {layer: _lines(rows[rows["layer"] == layer], sets) for layer in subject.layers(rows["layer"])}
    return Curves(title, panels, AXES[stage], "accuracy", sql, y_range=(0.0, 1.0))


def drawn_by_layer(stage: Literal["rewind", "retrain"], sets: Sets | None = None) -> Callable[[Subject], Drawn]:
    """Draws `by_layer` alone. sets: by default by label."""
    return lambda subject: [by_layer(subject, subject.label, stage, by_label(subject) if sets is None else sets)]


def learning(subject: Subject, title: str) -> Curves:
    """The learning curves of a setting's trainings. Clean and noisy accuracies are those of the training pass."""
    where = among("trial", subject.trials)
    sql = f"SELECT trial, epoch, clean_acc, noisy_acc, test_acc FROM epochs WHERE {where} ORDER BY trial, epoch"
    sets = {**by_label(subject), "test": ("test_acc", subject.examples("test"))}
    lines = _lines(subject.observations.frame(sql), sets)
    return Curves(title, {"": lines}, "epoch", "accuracy", sql, y_range=(0.0, 1.0))


def _lines(frame: pd.DataFrame, sets: Sets) -> list[Line]:
    """A line over epochs for each set whose accuracy is known. frame: one row per training and epoch."""
    drawn = [line(s, by_training(frame, "epoch", column), partial(share, n=n)) for s, (column, n) in sets.items()]
    return [one for one in drawn if any(value is not None for value in one.values)]
