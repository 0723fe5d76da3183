"""Accuracies of sets of examples, layer by layer: what rewinding and retraining share.

Each training weighs the same. n is the number of distinct examples (data_seed, example) of the trainings that a number is
of; None or 0 where the store does not say it, and then intervals show the trainings' spread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observed import Observed
from memloc.papers.charts import Curves, Line, by_training, line_of_shares
from memloc.papers.exhibits import Drawn, Subject
from memloc.statistics.quantities import share
from memloc.statistics.trainings import OverTrainings, pooled

# {name: (the column of the accuracy, the set as `Observed.examples` has it; None if the store does not say how many it has)}
Sets: TypeAlias = Mapping[str, tuple[str, str | None]]

BY_LABEL: Sets = {"clean": ("clean_acc", "clean"), "noisy": ("noisy_acc", "noisy")}  # correctly labeled, and mislabeled
KEPT = 0.9  # noisy accuracy that counts as kept, or as reached
AXES = {"rewind": "epoch that the layer is set back to", "retrain": "epoch of retraining"}


def accuracies(table: pd.DataFrame, n: int | None) -> list[OverTrainings]:
    """An accuracy for each column of trainings × cells; the cells of two trainings share their spread."""
    return pooled([share(list(table[cell]), n) for cell in table.columns])


def by_layer(subject: Subject, title: str, stage: Literal["rewind", "retrain"], sets: Sets = BY_LABEL) -> Curves:
    """The accuracies of the sets over epochs, a panel per layer group."""
    rows, sql = subject.rows(stage), subject.select(stage, "trial, layer, epoch")
    panels = {layer: _lines(subject, rows[rows["layer"] == layer], sets) for layer in subject.layers(rows["layer"])}
    return Curves(title, panels, AXES[stage], "accuracy", sql, y_range=(0.0, 1.0))


def drawn_by_layer(stage: Literal["rewind", "retrain"], sets: Sets = BY_LABEL) -> Callable[[Subject], Drawn]:
    """Draws `by_layer` alone."""
    return lambda subject: [by_layer(subject, subject.label, stage, sets)]


def learning(subject: Subject, title: str) -> Curves:
    """The learning curves of a setting's trainings. Clean and noisy accuracies are those of the training pass."""
    where = among("trial", subject.trials)
    sql = f"SELECT trial, epoch, clean_acc, noisy_acc, test_acc FROM epochs WHERE {where} ORDER BY trial, epoch"
    lines = _lines(subject, subject.observations.frame(sql), {**BY_LABEL, "test": ("test_acc", "test")})
    return Curves(title, {"": lines}, "epoch", "accuracy", sql, y_range=(0.0, 1.0))


def _lines(one: Observed, frame: pd.DataFrame, sets: Sets) -> list[Line]:
    """A line over epochs for each set whose accuracy is known. frame: one row per training and epoch."""
    drawn = [
        line_of_shares(name, by_training(frame, "epoch", column), one.examples_of(of_set) if of_set else lambda trials: None)
        for name, (column, of_set) in sets.items()
    ]
    return [one for one in drawn if any(value is not None for value in one.values)]
