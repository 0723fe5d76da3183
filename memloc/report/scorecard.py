"""The scorecard of the page and of the exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memloc.papers.maini2023 import Judgement
from memloc.papers.maini2023.judgement import WORDS
from memloc.report.charts import Table

SIGNS = {"holds": "✓", "does_not_hold": "✗", "inconclusive": "~", "not_testable": "?", "not_run": "○"}

# By the first letter of a claim's id (science.md, The paper's numbers).
FAMILIES = {
    "G": "Gradients",
    "L": "Layers",
    "W": "Layers",
    "R": "Layers",
    "F": "Neurons",
    "D": "Detection",
    "E": "Example-tied dropout",
    "A": "Atypical examples",
}


@dataclass(frozen=True)
class Claim:
    """A claim with those of its numbers that were judged, or that were not run."""

    id: str
    where: str
    text: str
    judgements: Sequence[Judgement]

    @property
    def sql(self) -> list[str]:
        return list(dict.fromkeys(j.sql for j in self.judgements))

    @property
    def tally(self) -> list[tuple[str, int]]:
        return [(verdict, count) for verdict, count in tally(self.judgements) if count]

    @property
    def first(self) -> Judgement | None:
        """The first of its numbers with an estimate of ours."""
        return next((j for j in self.judgements if j.ours is not None), None)

    @property
    def commands(self) -> list[str]:
        return list(dict.fromkeys(j.command for j in self.judgements if j.command))


@dataclass(frozen=True)
class Family:
    """Claims of one kind, in the paper's order: whole ones, those with judged numbers, and those with numbers not run."""

    name: str
    claims: Sequence[Claim]
    judged: Sequence[Claim]
    missing: Sequence[Claim]


def tally(judgements: Sequence[Judgement]) -> list[tuple[str, int]]:
    return [(verdict, sum(j.verdict == verdict for j in judgements)) for verdict in WORDS]


def families(judgements: Sequence[Judgement]) -> list[Family]:
    sections = []
    for name in dict.fromkeys(FAMILIES.values()):
        mine = [j for j in judgements if FAMILIES[j.id[0]] == name]
        judged, missing = ([j for j in mine if (j.verdict == "not_run") == absent] for absent in (False, True))
        if mine:
            sections.append(Family(name, _claims(mine), _claims(judged), _claims(missing)))
    return sections


def _claims(judgements: Sequence[Judgement]) -> list[Claim]:
    by_claim: dict[str, list[Judgement]] = {}
    for j in judgements:
        by_claim.setdefault(j.id.split(".")[0], []).append(j)
    return [Claim(name, own[0].where, own[0].claim, own) for name, own in by_claim.items()]


def number(value: float | None) -> str:
    """Three significant digits; – where there is none."""
    if value is None:
        return "–"
    digits = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return digits.replace("-", "−")


def ours(judgement: Judgement) -> str:
    """`0.477 [0.362, 0.592]`, or the estimate alone."""
    if judgement.lo is None or judgement.hi is None:
        return number(judgement.ours)
    return f"{number(judgement.ours)} [{number(judgement.lo)}, {number(judgement.hi)}]"


def table(judgements: Sequence[Judgement]) -> Table:
    """All judged numbers, one row each."""
    rows = []
    for j in judgements:
        if j.verdict != "not_run":
            rows.append([j.id, j.claim, number(j.paper), ours(j), j.verdict_in_words])
    return Table("Scorecard", ["id", "claim", "paper", "ours", "verdict"], rows)
