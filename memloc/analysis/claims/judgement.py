"""One number of the scorecard: the paper's, ours, and what is to be said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "does_not_hold", "not_testable", "not_run"]


@dataclass(frozen=True)
class Judgement:
    """What a store says about one number of the paper (science.md, The paper's numbers).

    id: claim, setting where the paper or the store has several, and part, such as `E1.cifar10.after.noisy`. where: in the
    paper. claim: what the paper says. on: the setting that ours is from, in words, "" where there is none. ours, lo, hi: the
    estimate and its 95 % interval; accuracies and shares in [0, 1]. reason: in one sentence what was compared, or why it
    could not be, or what is missing. command: what would run what is missing. seeds: of how many trainings ours is.
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
