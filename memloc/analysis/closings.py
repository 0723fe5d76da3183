"""In which layers the searches of a setting close neurons, by training and example.

Rows are read batch by batch, and of each one counts are kept. Sums are exact and then rounded, so they do not depend on the
order in which they are added.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np

from memloc.analysis.observations import Observations
from memloc.analysis.read_ahead import ReadAhead
from memloc.analysis.searches import codes, trainings, units
from memloc.statistics import Bools, Floats

COLUMNS = ("example", "noisy", "eligible", "layers")
EMPTY = {
    "example": np.zeros(0, np.int32),
    "noisy": np.zeros(0, bool),
    "closes": np.zeros(0, bool),
    "first": np.zeros(0, np.int16),
    "counts": np.zeros((0, 0), np.uint16),
}
AT_ONCE = 10_000  # rows that are added at once
SPLIT = 2.0**27 + 1  # Veltkamp's: halves of a double, so that the product of a half and a small number is exact


@dataclass(frozen=True)
class Closings:
    """Of the trainings that have closings of both clean and noisy examples.

    searched: all trainings that have closings. trials, layers: sorted. noisy: bool[examples], of distinct (data_seed,
    example). share, first: float64[trainings, examples, layers], NaN where a training has no closings of the example.
    share: the mean over repeats of the layer's part of a search's closings. first: the same of the first closing alone.
    """

    searched: list[str]
    trials: list[str]
    layers: list[str]
    noisy: Bools
    share: Floats
    first: Floats

    @classmethod
    def read(cls, observations: Observations, analyses: Collection[str]) -> Self:
        """Those of the eligible searches of analyses of `flips`, each of another training."""
        layers: dict[str, int] = observations.once(("layers of closings",), dict)
        ahead = observations.once(
            ("read ahead: closings",), lambda: ReadAhead(observations, COLUMNS, ("layers",), partial(_arrays, layers), EMPTY)
        )
        chosen = trainings(observations, set(analyses))
        rows = ahead.take(chosen.analyses)
        closes = rows.pop("closes")
        rows = {name: column[closes] for name, column in rows.items()}
        names, number, counts = list(layers), rows["number"], rows["counts"]
        counts = np.pad(counts, ((0, 0), (0, len(names) - counts.shape[1])))
        unit, noisy = units(chosen.data_seeds[number], rows["example"], rows["noisy"])
        shape, order = (len(chosen.trials), len(noisy), len(names)), np.argsort(names, kind="stable")
        cells = chosen.places[number] * len(noisy) + unit
        searches = np.bincount(cells, minlength=shape[0] * shape[1]).astype(np.float64)
        searches[searches == 0] = np.nan
        firsts = np.bincount(cells * shape[2] + rows["first"], minlength=int(np.prod(shape)))
        tables = [
            t.reshape(len(searches), shape[2]) / searches[:, None] for t in (_shares(cells, counts, len(searches)), firsts)
        ]
        there = ~np.isnan(searches).reshape(shape[:2])
        kept = there[:, noisy].any(axis=1) & there[:, ~noisy].any(axis=1)
        has = there[kept].any(axis=0)
        closed = order[np.asarray((tables[0].reshape(shape)[kept] > 0).any(axis=(0, 1)))[order]]
        share, first = (table.reshape(shape)[np.ix_(kept, has, closed)] for table in tables)
        searched, two_sided = ([chosen.trials[k] for k in np.flatnonzero(mask)] for mask in (there.any(axis=1), kept))
        return cls(searched, two_sided, [names[k] for k in closed], noisy[has], share, first)


def _arrays(layers: dict[str, int], batch: Any) -> dict[str, Any]:
    """closes: is the search eligible, and does it close something? first: the layer of its first closing. counts: by layer.

    layers: {name: its number}; new ones are added.
    """
    example, noisy, eligible = (batch.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS[:3])
    lists = batch.column("layers")
    closed = codes(lists.flatten(), layers)
    lengths = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    cells = np.repeat(np.arange(len(lengths)), lengths) * len(layers) + closed
    counts = np.bincount(cells, minlength=len(lengths) * len(layers)).reshape(len(lengths), len(layers))
    first = np.zeros(len(lengths), np.int16)
    first[lengths > 0] = closed[(np.cumsum(lengths) - lengths)[lengths > 0]]
    closes = (lengths > 0) & eligible.astype(bool)
    own = {"example": example.astype(np.int32), "noisy": noisy.astype(bool), "closes": closes, "first": first}
    return {**own, "counts": counts.astype(np.uint16)}


def _shares(cells: Any, counts: Any, size: int) -> Floats:
    """float64[size, layers]: the sum, over the rows of a cell, of counts / their sum, rounded once.

    A search of n closings has n parts of 1/n, a double. Their sum is formed as a double and its error (Dekker 1971).
    """
    order = np.argsort(cells, kind="stable")
    starts = np.flatnonzero(np.diff(cells[order], prepend=-1))
    nth = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    high, low = np.zeros((size, counts.shape[1])), np.zeros((size, counts.shape[1]))
    for repeat in range(int(nth.max(initial=-1)) + 1):  # a cell has one row of each
        rows = order[nth == repeat]
        for some in np.split(rows, range(AT_ONCE, len(rows), AT_ONCE)):
            number, cell = counts[some].astype(np.float64), cells[some]
            part = 1 / number.sum(axis=1, keepdims=True)
            upper = SPLIT * part - (SPLIT * part - part)
            product, before = number * part, high[cell]
            error = (number * upper - product) + number * (part - upper)
            total = before + product
            added = total - before
            high[cell] = total
            low[cell] += (before - (total - added)) + (product - added) + error
    high += low
    return high
