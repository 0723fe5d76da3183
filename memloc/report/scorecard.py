"""The scorecard: a paper's claims by section, each with its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memloc.papers.claims import Claim
from memloc.papers.judgement import WORDS, Judgement
from memloc.papers.paper import Paper

SIGNS = {"holds": "✓", "does_not_hold": "✗", "inconclusive": "~", "not_testable": "?", "not_run": "○"}


@dataclass(frozen=True)
class Judged:
    """A claim with those of its numbers that were judged, and those that were not run."""

    claim: Claim
    numbers: Sequence[Judgement]
    missing: Sequence[Judgement]

    @property
    def sql(self) -> list[str]:
        return list(dict.fromkeys(j.sql for j in self.numbers))

    @property
    def commands(self) -> list[str]:
        return list(dict.fromkeys(j.command for j in self.missing if j.command))


@dataclass(frozen=True)
class Part:
    """A section of the paper with its claims."""

    id: str
    name: str
    where: str
    claims: Sequence[Judged]

    @property
    def tally(self) -> list[tuple[str, int]]:
        return [(v, n) for v, n in tally([j for c in self.claims for j in (*c.numbers, *c.missing)]) if n]


def tally(judgements: Sequence[Judgement]) -> list[tuple[str, int]]:
    """(verdict, how many) for all verdicts."""
    return [(verdict, sum(j.verdict == verdict for j in judgements)) for verdict in WORDS]


def parts(paper: Paper, judgements: Sequence[Judgement]) -> list[Part]:
    """The sections of a paper in its order."""
    made = []
    for k, section in enumerate(paper.sections, 1):
        claims = []
        for claim in section.claims:
            own = [j for j in judgements if j.claim_id == claim.id]
            numbers, missing = ([j for j in own if (j.verdict == "not_run") == absent] for absent in (False, True))
            claims.append(Judged(claim, numbers, missing))
        made.append(Part(f"section-{k}", section.name, section.where, claims))
    return made
