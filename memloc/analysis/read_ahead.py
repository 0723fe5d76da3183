"""Rows of `flips`, setting by setting, from few passes over the table.

The rows of a setting lie between those of others, so a pass for each setting would read the table again and again. A pass
also takes the rows of settings that have not been asked for yet, up to a number of rows. Memory has the rows of one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from memloc.analysis.observations import Observations

ROWS = 6_000_000  # of a pass
Arrays = dict[str, Any]  # {name: [rows] or [rows, columns]}


class ReadAhead:
    """Of every batch it keeps what `arrays` makes of it."""

    def __init__(
        self,
        observations: Observations,
        columns: Sequence[str],
        coded: Sequence[str],
        arrays: Callable[[Any], Arrays],
        empty: Arrays,
    ) -> None:
        """columns: of `flips`. coded: those that come as dictionaries. arrays: of a record batch. empty: of none.

        An array may get more columns from batch to batch; those that an earlier one lacks are 0 there.
        """
        self._observations, self._columns, self._coded = observations, ("analysis", *columns), ("analysis", *coded)
        self._arrays, self._empty = arrays, empty
        self._batches: list[Arrays] = []
        self._places: dict[str, list[tuple[int, int, int]]] = {}  # {analysis: (batch, first row, end)}
        self._left: dict[str, None] | None = None  # analyses that will be asked for

    def take(self, analyses: Sequence[str]) -> Arrays:
        """The rows of these analyses, in their order, and `number`, the place of a row's analysis among them."""
        if any(analysis not in self._places for analysis in analyses):
            self._read(analyses)
        places = [(n, *place) for n, analysis in enumerate(analyses) for place in self._places.pop(analysis)]
        numbers = np.repeat([n for n, *_ in places], [end - first for *_, first, end in places]).astype(np.int64)
        rows = {name: self._joined(name, [place[1:] for place in places]) for name in self._empty}
        if not any(self._places.values()):
            self._batches.clear()
        return {"number": numbers, **rows}

    def _joined(self, name: str, places: Sequence[tuple[int, ...]]) -> Any:
        pieces = [self._batches[batch][name][first:end] for batch, first, end in places]
        if not pieces:
            return self._empty[name]
        width = max(piece.shape[-1] for piece in pieces) if pieces[0].ndim > 1 else 0
        return np.concatenate([np.pad(p, ((0, 0), (0, width - p.shape[1]))) if width else p for p in pieces])

    def _read(self, analyses: Sequence[str]) -> None:
        if self._left is None:
            several = self._observations.settings("flips")
            self._left = dict.fromkeys(setting.analyses[t] for setting in several for t in setting.trials)
        self._batches, self._places, rows = [], {}, 0
        for analysis in (*analyses, *self._left):
            rows += self._observations.rows_of(analysis, "flips")
            if rows > ROWS and analysis not in analyses:
                break
            self._places[analysis] = []
        for analysis in self._places:
            self._left.pop(analysis, None)
        for batch in self._observations.batches("flips", self._columns, self._places, self._coded):
            column = batch.column("analysis")
            code = column.indices.to_numpy(zero_copy_only=False)
            starts = np.flatnonzero(np.diff(code, prepend=-1))
            for first, end in zip(starts, np.append(starts[1:], len(code)), strict=True):
                self._places[column.dictionary[code[first]].as_py()].append((len(self._batches), int(first), int(end)))
            self._batches.append(self._arrays(batch))
