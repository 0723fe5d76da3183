"""Estimates over trainings: intervals whose independent units are the trainings (seeds), and words for numbers.

A single training has its own interval (over examples), or none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from memloc.statistics import Interval, student_interval
from memloc.statistics.regions import Region

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


def reaching(paper: float) -> Region:
    """The accuracies or AUCs that reach the paper's number: at least that number less the slack."""
    return Region(lo=round(paper - SLACK, 9))  # 0.89 − 0.03 is 0.86


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
