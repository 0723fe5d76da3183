"""One number of the scorecard: the paper's, ours, and what is to be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memloc.statistics import Interval

Verdict = Literal["holds", "does_not_hold", "not_testable", "not_run"]


@dataclass(frozen=True)
class Judgement:
    """What a store says about one number of the paper (science.md, The paper's numbers).

    id: claim, setting where the paper or the store has several, and part, such as `E1.cifar10.after.noisy`. where: in the
    paper. claim: what the paper says. on: the setting that ours is from, in words, "" where there is none. ours, lo, hi: the
    estimate and its 95 % interval; accuracies and shares in [0, 1]. reason: in one sentence what was compared, or why it
    could not be, or what is missing. command: what would run what is missing, in turn where `&&` is
    between. seeds: of how many trainings ours is.
    sql: for `memloc query`, the rows that ours was computed from.
    """

    id: str
    where: str
    claim: str
    paper: float | None
    ours: float | None
    lo: float | None
    hi: float | None
    verdict: Verdict
    reason: str
    command: str | None
    seeds: int
    sql: str
    on: str


@dataclass(frozen=True)
class Estimate:
    """One number in one setting, and whether what the paper says of it holds there.

    interval: the number with its 95 % interval, None where it is not defined. holds: None where the data cannot say.
    trials: those that the number is from. reason, sql: as in Judgement.
    """

    interval: Interval | None
    holds: bool | None
    reason: str
    trials: Sequence[str]
    sql: str

    @property
    def verdict(self) -> Verdict:
        return "not_testable" if self.holds is None else "holds" if self.holds else "does_not_hold"
