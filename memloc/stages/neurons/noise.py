"""The Gaussian directions of noisy copies, drawn on the host, if wanted while the device computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

F32: TypeAlias = npt.NDArray[np.float32]


@dataclass
class Noise:
    """Directions for rows and steps. Which thread draws them, and when, changes none: each is keyed by its row and step.

    stream: (row, step) -> its generator. shape: of one row's directions.
    """

    stream: Callable[[int, int], np.random.Generator]
    shape: tuple[int, ...]
    _pool: ThreadPoolExecutor | None = None
    _begun: dict[int, tuple[dict[int, int], Future[F32]]] = field(default_factory=dict)

    def directions(self, rows: Sequence[int], step: int) -> F32:
        """float32 [rows, *shape]; those that were begun are waited for."""
        places, drawn = self._begun.get(step, ({}, None))
        if drawn is None or any(row not in places for row in rows):
            return self._draw(rows, step)
        return drawn.result()[[places[row] for row in rows]]

    @contextmanager
    def drawing_ahead(self, on: bool = True) -> Iterator[None]:
        """Lets `ahead` draw in another thread. Otherwise it does nothing."""
        if not on:
            yield
            return
        with ThreadPoolExecutor(1, "flip-noise") as self._pool:
            try:
                yield
            finally:
                for _, drawn in self._begun.values():
                    drawn.cancel()
                self._pool, self._begun = None, {}

    def ahead(self, rows: Sequence[int], step: int) -> None:
        """Begins to draw for a step, and forgets all but the one before it."""
        if self._pool is not None:
            places = {row: k for k, row in enumerate(dict.fromkeys(rows))}
            self._begun = {k: begun for k, begun in self._begun.items() if k == step - 1}
            self._begun[step] = places, self._pool.submit(self._draw, list(places), step)

    def _draw(self, rows: Sequence[int], step: int) -> F32:
        drawn = np.empty((len(rows), *self.shape), dtype=np.float32)
        for row, out in zip(rows, drawn, strict=True):
            self.stream(row, step).standard_normal(out=out, dtype=np.float32)
        return drawn
