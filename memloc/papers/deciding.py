"""From a quantity over trainings to an estimate: the decision, the interval that is printed, the words about trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from memloc.papers.judgement import Estimate
from memloc.stages.instrument import in_words
from memloc.statistics import Correlation, Interval
from memloc.statistics.regions import Decision, Region, decide
from memloc.statistics.trainings import OverTrainings

POSITIVE = Region(lo=0.0, open_lo=True)
SIGNIFICANT = 0.05


def estimated(quantity: OverTrainings, decision: Decision, compared: str, trials: Sequence[str], sql: str) -> Estimate:
    """The estimate with its 95 % interval. compared: the sentence about what was compared; words about trainings follow."""
    return Estimate(quantity.printed, decision, f"{compared}; {over(quantity)}", trials, sql)


def decided(
    quantity: OverTrainings, region: Region, compared: str, trials: Sequence[str], sql: str, beside: str = ""
) -> Estimate:
    """The same, decided on a region, which the sentence names. beside: what follows, from "; " on."""
    decision = decide(quantity.deciding, region, quantity.each)
    return estimated(quantity, decision, f"{compared}; it must be {region}{beside}", trials, sql)


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


def rank_correlation(one: pd.Series, other: pd.Series) -> float | None:
    """Spearman's coefficient; None with fewer than three pairs, or if one side does not vary."""
    from scipy.stats import spearmanr  # takes half a second; checking a sweep file does not need it

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return round(float(spearmanr(one, other).statistic), 12) + 0.0  # 0 is 0, not 1e-17, which would lean for the claim


def listed(values: Sequence[float]) -> str:
    """`0.93 and 0.97`."""
    return in_words([f"{v:.3g}" for v in values])
