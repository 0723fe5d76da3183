"""Scores of an example from the depth at which it is resolved, and from its neighbours. Deep and alone is suspicious."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from memloc.stages.base import Columns
from memloc.stages.score import Score


def of_column(column: str, sign: int) -> Callable[[Mapping[str, Columns]], list[float]]:
    """A column of table `depth` at the last checkpoint that was probed, the mean over the block's analyses."""

    def values(tables: Mapping[str, Columns]) -> list[float]:
        rows = tables["depth"]
        last: dict[str, int] = {}
        for analysis, epoch in zip(rows["analysis"], rows["epoch"], strict=True):
            last[analysis] = max(int(epoch), last.get(analysis, 0))
        known: dict[int, list[float]] = {}
        for analysis, epoch, example, value in zip(
            *(rows[name] for name in ("analysis", "epoch", "example", column)), strict=True
        ):
            if int(epoch) == last[analysis]:
                known.setdefault(int(example), []).append(float(value))
        return [sign * float(np.mean(known[int(example)])) for example in tables["examples"]["example"]]

    return values


SCORES = (
    Score("depth", of_column("depth", 1), "depth"),
    Score("neighbours", of_column("agreement", -1), "depth"),
    # The control: it asks the images alone, and no network.
    Score("input_neighbours", of_column("input_agreement", -1), "depth"),
)
