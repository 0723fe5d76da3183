"""Estimates over trainings: intervals whose independent units are the trainings (seeds), and words for numbers.

A single training has its own interval (over examples), or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from memloc.statistics import Interval, student_interval, wilson_interval

SLACK = 0.03  # an estimate that is lower than the paper's number by this much still reaches it


def over_trainings(values: Sequence[float], low: float = -math.inf, high: float = math.inf) -> Interval | None:
    """The mean of one value per training with Student's 95 % interval, clipped to the range of the quantity."""
    interval = student_interval(values)
    return interval and clipped(interval, low, high)


def present(estimate: Interval | None) -> Interval:
    """The estimate of trainings that there are.

    Raises:
        ValueError: there is none. The caller has selected no trainings, and that is a bug.
    """
    if estimate is None:
        raise ValueError("an estimate of no trainings")
    return estimate


def clipped(interval: Interval, low: float, high: float) -> Interval:
    if interval.lo is None or interval.hi is None:
        return interval
    return Interval(interval.value, max(low, interval.lo), min(high, interval.hi))


def accuracy(values: Sequence[float], n: int | None) -> Interval | None:
    """The mean accuracy of trainings on sets of n examples (None: unknown). A single training has Wilson's interval."""
    if len(values) == 1 and n is not None:
        return wilson_interval(values[0], n)
    return over_trainings(values, 0.0, 1.0)


def mean_auc(intervals: Sequence[Interval]) -> Interval | None:
    """The mean of AUCs of several trainings on the same examples, from their DeLong intervals.

    The squared standard error is the mean of DeLong's squared errors plus s²/k between trainings: trainings on the same
    examples do not average DeLong's errors out. The interval is normal. lo and hi are None if a training has none.
    """
    if not intervals:
        return None
    values = [i.value for i in intervals]
    mean = math.fsum(values) / len(values)
    halves = [max(i.value - i.lo, i.hi - i.value) for i in intervals if i.lo is not None and i.hi is not None]
    if len(halves) < len(intervals):
        return Interval(mean, None, None)
    between = 1.96**2 * float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    half = math.sqrt(math.fsum(h**2 for h in halves) / len(halves) + between)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def reaches(estimate: Interval, paper: float) -> tuple[bool, str]:
    """(whether an accuracy or an AUC is at least the paper's number less the slack, that condition in words).

    The estimate decides, not its interval: a wide interval reaches every number, so the less is known, the more would hold.
    """
    least = round(paper - SLACK, 9)  # 0.89 − 0.03 is 0.86
    return estimate.value >= least, f"it must be at least {paper:g} less {SLACK}"


def away(paper: float | None, ours: float, digits: int = 3) -> str:
    """`; -0.021 from the paper's number`, or nothing if the paper has none."""
    if paper is None:
        return ""
    return f"; {ours - paper:+.{digits}f} from the paper's number".replace("-", "−")


def interval_over(interval: Interval, trainings: int, over: str) -> str:
    """`; interval over 3 trainings`. over: the units of the interval of a single training."""
    if interval.lo is None:
        return "; one training, no interval" if trainings == 1 else ""
    return f"; interval over {trainings} trainings" if trainings > 1 else f"; one training, interval over {over}"
