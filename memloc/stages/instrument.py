"""A stage's contribution to the closing summary of a sweep: a query, and a sentence about its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

LEAST_MEMORIZED = 0.95  # noisy accuracy from which there is something to localize (science.md, The paper's numbers)

Row = dict[str, Any]
Say = Callable[[list[Row]], str]  # the rows of one setting -> sentences, "" if there is nothing to say


@dataclass(frozen=True)
class Instrument:
    """An experiment's table and a sentence about it. A stage's summary.py has one, as `INSTRUMENT`.

    place: the smallest place comes first in the summary. title: at most 60 letters, with the paper's section. columns: they
    are selected and grouped by, after the columns that name the setting. detail: the columns that `say` gets instead, if it
    needs more of them than a reader. named: fields of a configuration that are always named where they differ. extent: its
    fields that say how much is measured, not what; they name no setting. memorizing: the sentence is true only of networks
    that memorized.
    """

    place: int
    title: str
    stage: str
    table: str
    columns: str
    say: Say
    where: str = ""
    order: str = "ALL"
    needs_trials: bool = False
    detail: str = ""
    named: tuple[str, ...] = ()
    extent: tuple[str, ...] = ()
    memorizing: bool = True


def in_words(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)


def layer_extremes(rows: list[Row]) -> tuple[tuple[str, float], tuple[str, float]] | None:
    """The layers with the lowest and with the highest noisy accuracy, and that accuracy: the mean over the layer's rows.

    rows: with layer and noisy, a fraction or None. None where no row has a noisy accuracy.
    """
    by_layer: dict[str, list[float]] = {}
    for row in rows:
        if row["noisy"] is not None:
            by_layer.setdefault(row["layer"], []).append(row["noisy"])
    if not by_layer:
        return None
    means = {layer: float(np.mean(values)) for layer, values in by_layer.items()}
    # Means that differ only in the order of adding up are equal. Then the first by name is taken.
    low, *_, high = sorted(means, key=lambda layer: (round(means[layer], 9), layer)) * 2
    return (low, means[low]), (high, means[high])
