"""Whether a quantity lies in the region that a claim names, as far as trainings and examples can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from memloc.statistics.interval import Interval
from memloc.statistics.trainings import OverTrainings

Verdict: TypeAlias = Literal["holds", "does_not_hold", "inconclusive"]
Leans: TypeAlias = Literal["for", "against"]

FAMILYWISE = 0.05  # how often some group of a family may be wholly outside by chance


@dataclass(frozen=True)
class Region:
    """The numbers from lo to hi; one end may be infinite. open_lo, open_hi: whether the end itself lies outside.

    `str(region)` says it in words: "at least 0.9", "below 1", "in [0.5, 2]".
    """

    lo: float = -np.inf
    hi: float = np.inf
    open_lo: bool = False
    open_hi: bool = False

    def __post_init__(self) -> None:
        empty = self.lo == self.hi and (self.open_lo or self.open_hi)
        if not self.lo <= self.hi or empty or (np.isinf(self.lo) and np.isinf(self.hi)):
            raise ValueError(f"no region: from {self.lo} to {self.hi}")

    def __contains__(self, value: float) -> bool:
        return not self._below(value) and not self._above(value)

    def __str__(self) -> str:
        if np.isinf(self.hi):
            return f"{'above' if self.open_lo else 'at least'} {self.lo:g}"
        if np.isinf(self.lo):
            return f"{'below' if self.open_hi else 'at most'} {self.hi:g}"
        return f"in {'(' if self.open_lo else '['}{self.lo:g}, {self.hi:g}{')' if self.open_hi else ']'}"

    def holds_whole(self, lo: float, hi: float) -> bool:
        """Whether all of [lo, hi] lies inside."""
        return lo in self and hi in self

    def excludes_whole(self, lo: float, hi: float) -> bool:
        """Whether all of [lo, hi] lies outside."""
        return self._below(hi) or self._above(lo)

    def _below(self, value: float) -> bool:
        return value < self.lo or (value == self.lo and self.open_lo)

    def _above(self, value: float) -> bool:
        return value > self.hi or (value == self.hi and self.open_hi)


class Decision(NamedTuple):
    """A verdict. leans: of an inconclusive one, where every training's own value lies in, or out of, the region."""

    verdict: Verdict
    leans: Leans | None = None


class GroupsDecision(NamedTuple):
    """A decision on several groups. group: the index of the one to show, which is the farthest out (or nearest to it)."""

    decision: Decision
    group: int


def decide(interval: Interval, region: Region, each: Sequence[float]) -> Decision:
    """Holds where the whole interval lies in the region, does not hold where the whole interval lies outside.

    Args:
        interval: the 90 % one, `OverTrainings.deciding`.
        region: that the claim names.
        each: every training's own value. With a single one there is no verdict about networks. The decision is then
            inconclusive, and leans as this network does.

    Raises:
        ValueError: without trainings, or for a value that is not a number.
    """
    if not len(each) or np.isnan([interval.value, *each]).any():
        raise ValueError(f"needs one number per training, not {list(each)}")
    if len(each) > 1 and interval.lo is not None and interval.hi is not None:
        if region.holds_whole(interval.lo, interval.hi):
            return Decision("holds")
        if region.excludes_whole(interval.lo, interval.hi):
            return Decision("does_not_hold")
    return _inconclusive([value in region for value in each])


def decide_groups(groups: Sequence[OverTrainings], region: Region) -> GroupsDecision:
    """Whether every group of a network lies in a region (G1).

    It holds where every group's 90 % interval lies in the region. It does not hold where some group's interval at the level
    1 − 0.05/G lies outside: with G groups, one is outside by chance more often than one alone would be. A training's own
    value counts as in the region where all its groups do.

    Args:
        groups: at least one, of the same trainings in the same order.
        region: of each group's quantity.
    """
    shown = int(np.argmax([_outside(group, region) for group in groups]))
    inside = [all(value in region for value in training) for training in zip(*(g.each for g in groups), strict=True)]
    if all(decide(group.deciding, region, group.each).verdict == "holds" for group in groups):
        return GroupsDecision(Decision("holds"), shown)
    level = 1 - FAMILYWISE / len(groups)
    out = [i for i, g in enumerate(groups) if decide(g.at(level), region, g.each).verdict == "does_not_hold"]
    if out:
        return GroupsDecision(Decision("does_not_hold"), max(out, key=lambda i: _outside(groups[i], region)))
    return GroupsDecision(_inconclusive(inside), shown)


def _inconclusive(inside: Sequence[bool]) -> Decision:
    return Decision("inconclusive", "for" if all(inside) else None if any(inside) else "against")


def _outside(group: OverTrainings, region: Region) -> float:
    """How far a group's value lies beyond the nearer end of the region, on the group's scale; negative inside."""
    forward = group.scale.forward
    value = forward(group.value)
    return float(
        max(
            forward(region.lo) - value if np.isfinite(region.lo) else -np.inf,
            value - forward(region.hi) if np.isfinite(region.hi) else -np.inf,
        )
    )
