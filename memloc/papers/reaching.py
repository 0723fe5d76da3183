"""How an estimate compares with a number of the paper: the region that reaches it, and the difference in words."""

from __future__ import annotations

from memloc.statistics.regions import Region

SLACK = 0.03  # an estimate that is lower than the paper's number by this much still reaches it


def reaching(paper: float) -> Region:
    """The accuracies or AUCs that reach the paper's number: at least that number less the slack."""
    return Region(lo=round(paper - SLACK, 9))  # 0.89 − 0.03 is 0.86


def away(paper: float | None, ours: float, digits: int = 3) -> str:
    """`; -0.021 from the paper's number`, or nothing if the paper has none."""
    if paper is None:
        return ""
    return f"; {ours - paper:+.{digits}f} from the paper's number".replace("-", "−")
