"""One number of the scorecard: the paper's, our estimate, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from memloc.statistics import Interval

Verdict = Literal["holds", "does_not_hold", "not_testable", "not_run"]


@dataclass(frozen=True)
class Judgement:
    """The verdict on one number of the paper (science.md, The paper's numbers).

    id: claim, setting (if the paper or the store has several) and part, such as `E1.cifar10.after.noisy`. where: the place
    in the paper. claim: what the paper says. on: the setting of our estimate, in words; "" if there is none. ours, lo, hi:
    the estimate and its 95 % interval; accuracies and shares are in [0, 1]. reason: a sentence that says what was compared,
    why it could not be, or what is missing. command: it would run what is missing (`&&` joins several commands). seeds: the
    number of trainings behind the estimate. sql: for `memloc query`, the rows behind the estimate.
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
    """One number in one setting, and whether the paper's claim about it holds there.

    interval: the number with its 95 % interval; None if it is not defined. holds: None if the data cannot tell. trials: the
    trainings behind the number. reason, sql: as in Judgement.
    """

    interval: Interval | None
    holds: bool | None
    reason: str
    trials: Sequence[str]
    sql: str

    @property
    def verdict(self) -> Verdict:
        return "not_testable" if self.holds is None else "holds" if self.holds else "does_not_hold"
