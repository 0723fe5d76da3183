"""How a wave of parts is cut into tasks. No Ray and no torch here: coordinators import this, and so does the simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

TASKS_PER_SLOT = 4  # at least, if there are enough parts: the other slots wait for the last tasks a quarter at most
SHARING_TASKS_PER_SLOT = 2  # the same, of parts that share work
LONGEST = 60.0  # seconds of a task whose parts share nothing: a lost worker loses it, the end of a sweep waits for it


@dataclass(frozen=True)
class PricedPart:
    """A part of an analysis, and its price: the seconds that it takes alone, by run/cost.py.

    shared: those of the seconds that a task spends once for all its parts of the analysis. passes: the forward passes of one
    example behind the price. needs: the parts without which it cannot run. chain: parts of one chain run one after the
    other, in one task; "": it is none.
    """

    id: str
    analysis: str
    stage: str
    seconds: float
    shared: float = 0.0
    passes: float = 0.0
    needs: tuple[str, ...] = ()
    chain: str = ""


def together(parts: Sequence[PricedPart]) -> float:
    """Seconds of a task of these parts of one analysis."""
    return sum(part.seconds - part.shared for part in parts) + max((part.shared for part in parts), default=0.0)


def _by_analysis(parts: Sequence[PricedPart]) -> list[list[PricedPart]]:
    ordered = sorted(parts, key=lambda part: part.analysis)
    return [list(bunch) for _, bunch in groupby(ordered, key=lambda part: part.analysis)]


def units(parts: Sequence[PricedPart]) -> list[list[PricedPart]]:
    """Parts that cannot be taken apart: chains, and single parts."""
    return [list(unit) for _, unit in groupby(parts, key=lambda part: part.chain or part.id)]


def least(parts: Sequence[PricedPart]) -> float:
    """Seconds of a wave if all shared work is paid once."""
    return sum(together(bunch) for bunch in _by_analysis(parts))


def cut(parts: Sequence[PricedPart], slots: int) -> list[list[PricedPart]]:
    """The tasks of a wave on `slots` slots, longest first. A task holds parts of one analysis, in their order.

    A task is about a quarter of a slot's share of the wave, so that the other slots wait only shortly for the last tasks. It
    is no longer than `LONGEST`, because parts that share nothing gain nothing from long tasks. Parts that share work save it
    in long tasks: about half of a slot's share, and the whole share on a single slot.
    """
    share = sum(part.seconds for part in parts) / slots
    apart = min(share / TASKS_PER_SLOT, LONGEST)
    sharing = share if slots == 1 else share / SHARING_TASKS_PER_SLOT
    tasks: list[list[PricedPart]] = []
    for bunch in _by_analysis(parts):
        tasks += _chunks(bunch, sharing if any(part.shared for part in bunch) else apart)
    return sorted(tasks, key=lambda task: -together(task))


def _chunks(bunch: Sequence[PricedPart], limit: float) -> list[list[PricedPart]]:
    """As few chunks as `limit` seconds allow, of sizes as equal as possible. A part that is longer is a chunk of its own."""
    whole = units(bunch)
    if len(whole) < len(bunch):  # chains, which differ in length
        return whole
    total = together(bunch)
    count = min(len(bunch), max(1, math.ceil(total / limit))) if limit > 0 else 1
    edges = [round(i * len(bunch) / count) for i in range(count + 1)]
    return [list(bunch[a:b]) for a, b in pairwise(edges)]
