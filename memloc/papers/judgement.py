"""One number of the scorecard: the paper's, our estimate, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from memloc.analysis.settings import Setting
from memloc.papers.deciding import Verdict
from memloc.statistics import Interval, in_brackets
from memloc.statistics.regions import Leans

WORDS: dict[Verdict, str] = {verdict: verdict.replace("_", " ") for verdict in get_args(Verdict)}

# What a machine gets of a judgement.
COLUMNS = (
    *("id", "paper_id", "where", "claim", "paper", "ours", "lo", "hi", "verdict", "leans", "reason", "sql"),
    *("command", "seeds", "on"),
)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one number of the paper (science.md, The paper's numbers).

    id: claim, setting (if the paper or the store has several), part and measurement, such as `E1.cifar10.after.noisy`.
    paper_id: the folder in papers/. where: the place in the paper. claim: what the paper says. on: the setting of our
    estimate, in words; "" if there is none. ours, lo, hi: the estimate and its 95 % interval; accuracies and shares are in
    [0, 1]. leans: of an inconclusive verdict, where every training's own value speaks for the claim, or against it. reason:
    a sentence that says what was compared, why it could not be, or what is missing. command: it would run what is missing
    (`&&` joins several commands). seeds: the number of trainings behind the estimate. beside: a number of the same trainings
    to which a sentence compares ours (accuracy before dropping). sql: for `memloc query`, the rows behind the estimate.
    claim_id, part, suffix: of the id; suffix names a measurement beside the paper's. setting: None if it was not run.
    """

    id: str
    paper_id: str
    where: str
    claim: str
    claim_id: str
    part: str
    suffix: str
    paper: float | None
    verdict: Verdict
    reason: str
    sql: str
    ours: float | None = None
    lo: float | None = None
    hi: float | None = None
    leans: Leans | None = None
    command: str | None = None
    seeds: int = 0
    beside: Interval | None = None
    on: str = ""
    setting: Setting | None = None

    @property
    def verdict_in_words(self) -> str:
        """`inconclusive, leans for`."""
        return f"{WORDS[self.verdict]}, leans {self.leans}" if self.leans else WORDS[self.verdict]

    def printed(self, digits: int) -> str:
        """`5.01 [4.70, 5.32]`: our estimate with its interval; – where there is none."""
        return "–" if self.interval is None else in_brackets(self.interval, digits)

    @property
    def interval(self) -> Interval | None:
        """Our estimate with its 95 % interval."""
        return None if self.ours is None else Interval(self.ours, self.lo, self.hi)
