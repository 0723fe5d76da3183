"""A paper: its sections, each with its claims, its exhibits and its sentence of the summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import digits
from types import ModuleType
from typing import TypeAlias, TypeVar

from memloc.papers.claims import Claim
from memloc.papers.exhibits import Exhibit
from memloc.papers.judgement import Judgement

Entry = TypeVar("Entry", Claim, Exhibit)
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


def section(name: str, where: str, sentence: Callable[[Judged], str], *modules: ModuleType) -> Section:
    """A section of modules, by their CLAIMS and EXHIBITS in the order of the paper; then come exhibits beyond it."""
    claims = in_order([claim for module in modules for claim in module.CLAIMS])
    exhibits = in_order([exhibit for module in modules for exhibit in module.EXHIBITS])
    return Section(name, where, claims, sorted(exhibits, key=lambda one: not one.of_paper), sentence)


def in_order(several: Sequence[Entry]) -> list[Entry]:
    """Those with the same letters in their ids stand together, by their numbers: G1, G2, …. Letters stay in their order."""
    kinds = list(dict.fromkeys(one.id.rstrip(digits) for one in several))
    return sorted(several, key=lambda one: (kinds.index(one.id.rstrip(digits)), one.id))


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
