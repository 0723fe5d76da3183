"""A paper: its sections, each with its claims, its exhibits and its sentence of the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from memloc.papers.claims import Claim
from memloc.papers.exhibits import Exhibit
from memloc.papers.judgement import Judgement

# {claim: {part: judgement}} of one setting, those with an estimate of ours
Judged: TypeAlias = Mapping[str, Mapping[str, Judgement]]


@dataclass(frozen=True)
class Section:
    """A section of a paper. sentence: what a summary says of it, "" where there is nothing to say."""

    name: str
    where: str
    claims: Sequence[Claim]
    exhibits: Sequence[Exhibit]
    sentence: Callable[[Judged], str]


@dataclass(frozen=True)
class Paper:
    """id: its folder in papers/. pictures: at most three exhibits that show at a glance what was found."""

    id: str
    title: str
    source: str
    sections: Sequence[Section]
    pictures: Sequence[Exhibit] = ()

    @property
    def claims(self) -> list[Claim]:
        """All claims, in the paper's order."""
        return [claim for section in self.sections for claim in section.claims]
