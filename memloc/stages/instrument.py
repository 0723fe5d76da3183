"""What a stage has to say in the closing summary of a sweep: the table that it is read off, and the sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Row = dict[str, Any]
Say = Callable[[list[Row]], str]  # the rows of one setting -> words, "" where they say nothing


@dataclass(frozen=True)
class Instrument:
    """An experiment's table and what to say of it. A stage's summary.py has one, as `INSTRUMENT`.

    place: where the summary tells of it, the smallest first. columns: what is selected, and grouped by, after what names the
    setting. detail: the columns that `say` gets instead, where it needs more than a reader does. named: fields of a
    configuration that are named wherever they differ, whatever else does.
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


def layer_extremes(rows: list[Row], what: str) -> str:
    """The layers with the lowest and the highest noisy accuracy, mean over trainings; what: of which accuracy it is."""
    by_layer: dict[str, list[float]] = {}
    for row in rows:
        if row["noisy"] is not None:
            by_layer.setdefault(row["layer"], []).append(row["noisy"])
    if not by_layer:
        return ""
    left = {layer: float(np.mean(values)) for layer, values in by_layer.items()}
    # Equal but for the order in which they were added up: the first by name.
    low, *_, high = sorted(left, key=lambda layer: (round(left[layer], 9), layer)) * 2
    return f"most critical {low} ({what} {left[low]:.3f}), most redundant {high} ({left[high]:.3f})"
