"""Axes of several training fields at once: `paired`, whose points are written out, and `sample`, whose points are drawn.

A drawn value depends on the seed of the sample, the number of the point and the field's name alone: not on `n`, on the other
fields or on the machine. Logarithms are taken in decimal arithmetic, which rounds alike everywhere, and a real number has
six significant digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from memloc.seeds import hashed

WORDS = 2**64
EXACT, SHOWN = Context(prec=30), Context(prec=6)
HALF = Decimal("0.5")


@dataclass(frozen=True)
class Joint:
    """An axis of several fields. points: the values of the fields `names`, one tuple for each point."""

    names: tuple[str, ...]
    points: Sequence[tuple[Any, ...]]

    def without(self, name: str) -> Joint:
        """The axis without a field. Points that are equal then are one."""
        kept = [i for i, other in enumerate(self.names) if other != name]
        points = dict.fromkeys(tuple(point[i] for i in kept) for point in self.points)
        return Joint(tuple(self.names[i] for i in kept), list(points))


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included. scale: whether equal differences or equal factors are equally likely."""

    scale: Literal["uniform", "log"]
    first: float
    last: float
    whole: bool

    def draw(self, word: int) -> int | float:
        """The number for a word in 0..2^64 − 1."""
        if self.whole and self.scale == "uniform":
            return int(self.first) + word * (int(self.last) - int(self.first) + 1) // WORDS
        share = EXACT.divide(Decimal(word), Decimal(WORDS))
        first, last = Decimal(repr(self.first)), Decimal(repr(self.last))
        if self.whole:  # each number has the room up to halfway to its neighbours
            halfway = self._between(share, first - HALF, last + HALF)
            number: float = int((halfway + HALF).to_integral_value(ROUND_FLOOR))
        else:
            number = float(SHOWN.plus(self._between(share, first, last)))
        return min(max(number, self.first), self.last)

    def _between(self, share: Decimal, first: Decimal, last: Decimal) -> Decimal:
        if self.scale == "uniform":
            return EXACT.fma(share, EXACT.subtract(last, first), first)
        low, high = _logarithm(first), _logarithm(last)
        return EXACT.exp(EXACT.fma(share, EXACT.subtract(high, low), low))


@lru_cache(maxsize=64)
def _logarithm(number: Decimal) -> Decimal:
    return EXACT.ln(number)


@dataclass(frozen=True)
class Choice:
    """One of several values, each as likely as the others."""

    values: Sequence[Any]

    def draw(self, word: int) -> Any:
        """The value for a word in 0..2^64 − 1."""
        return self.values[word * len(self.values) // WORDS]


Draws: TypeAlias = Range | Choice


def sampled(number: int, seed: int, draws: Mapping[str, Draws]) -> Joint:
    """`number` points, each with a value of every field of `draws`. Equal points are one."""
    columns = []
    for name, kind in draws.items():
        words = hashed(seed, "sample", name, i=np.arange(number))
        columns.append([kind.draw(int(word)) for word in words])
    return Joint(tuple(draws), list(dict.fromkeys(zip(*columns, strict=True))))
