"""From a quantity over trainings to an estimate: the decision, the interval that is printed, the words about both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from memloc.stages.instrument import in_words
from memloc.statistics import Correlation, Interval
from memloc.statistics.regions import Decision, Leans, Region, decide
from memloc.statistics.trainings import OverTrainings

Verdict: TypeAlias = Literal["holds", "does_not_hold", "inconclusive", "not_testable", "not_run"]

POSITIVE = Region(lo=0.0, open_lo=True)
ABOVE_HALF = Region(lo=0.5, open_lo=True)  # an AUC that is not guessing, a share that is most
SIGNIFICANT = 0.05
SLACK = 0.03  # an estimate that is lower than the paper's number by this much still reaches it


@dataclass(frozen=True)
class Estimate:
    """One number in one setting, and whether the paper's claim about it holds there.

    interval: the number with its 95 % interval; None if it is not defined. decision: None if the claim cannot be tested.
    trials: the trainings behind the number. reason, sql, beside: as in Judgement.
    """

    interval: Interval | None
    decision: Decision | None
    reason: str
    trials: Sequence[str]
    sql: str
    beside: Interval | None = None

    @property
    def verdict(self) -> Verdict:
        return "not_testable" if self.decision is None else self.decision.verdict

    @property
    def leans(self) -> Leans | None:
        return None if self.decision is None else self.decision.leans


def estimated(
    quantity: OverTrainings, decision: Decision | None, compared: str, trials: Sequence[str], sql: str
) -> Estimate:
    """The estimate with its 95 % interval. decision: None if it is only shown.

    compared: the sentence about what was compared, or why nothing is decided; words about trainings follow.
    """
    return Estimate(quantity.printed, decision, f"{compared}; {over(quantity)}", trials, sql)


def decided(
    quantity: OverTrainings, region: Region, compared: str, trials: Sequence[str], sql: str, beside: str = ""
) -> Estimate:
    """The same, decided on a region, which the sentence names. beside: what follows, from "; " on."""
    decision = decide(quantity.deciding, region, quantity.each)
    return estimated(quantity, decision, f"{compared}; it must be {region}{beside}", trials, sql)


def ranked(
    test: Correlation, each: Sequence[float], networks: int, compared: str, trials: Sequence[str], sql: str
) -> Estimate:
    """A rank correlation without an interval. networks: as in `decide_rank`, which decides; compared: as in `estimated`."""
    return Estimate(Interval(test.interval.value, None, None), decide_rank(test, each, networks), compared, trials, sql)


def untestable(reason: str, trials: Sequence[str], sql: str) -> Estimate:
    return Estimate(None, None, reason, trials, sql)


def over(quantity: OverTrainings) -> str:
    """Which trainings an interval is of: `interval over 3 trainings`. The values of two trainings are named."""
    if quantity.k == 1:
        interval = "no interval" if quantity.printed.lo is None else "the interval is of this network"
        return f"one training, {interval}"
    if quantity.k == 2:
        return f"the two trainings have {listed(sorted(quantity.each))}"
    return f"interval over {quantity.k} trainings"


def decide_rank(test: Correlation, each: Sequence[float], networks: int) -> Decision:
    """A rank correlation above 0 holds where p is below 0.05, and does not hold where it is at most 0.

    Args:
        test: of the means over trainings, one-sided.
        each: the coefficient of every training that has one, for `leans`.
        networks: trainings with different seeds. With a single one there is no verdict about networks.
    """
    value = test.interval.value
    if networks > 1 and value <= 0:
        return Decision("does_not_hold")
    if networks > 1 and test.p < SIGNIFICANT:
        return Decision("holds")
    return decide(Interval(value, None, None), POSITIVE, each) if each else Decision("inconclusive")


def listed(values: Sequence[float]) -> str:
    """`0.93 and 0.97`."""
    return in_words([f"{v:.3g}" for v in values])


def reaching(paper: float) -> Region:
    """The accuracies or AUCs that reach the paper's number: at least that number less the slack."""
    return Region(lo=round(paper - SLACK, 9))  # 0.89 − 0.03 is 0.86


def away(paper: float | None, ours: float) -> str:
    """`; −0.021 from the paper's number`, or nothing if the paper has none."""
    return "" if paper is None else f"; {ours - paper:+.3f} from the paper's number".replace("-", "−")


def saying(estimate: Estimate, left_out: str) -> Estimate:
    """The estimate, with a note about the trainings that were left out."""
    if left_out and (estimate.decision is not None or estimate.interval is not None):
        return replace(estimate, reason=f"{estimate.reason}; {left_out}")
    return estimate
