"""A claim of a paper as data, with the functions that estimate its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeAlias

from memloc.analysis.observations import Observations
from memloc.analysis.settings import Scope, Setting
from memloc.papers.judgement import Estimate

Numbers: TypeAlias = Mapping[str, float | None]  # {part: the paper's number, None where it has words alone}
Parts: TypeAlias = dict[str, Estimate]
Estimates: TypeAlias = Mapping[str, Estimate | None]
InStore: TypeAlias = Callable[[Observations], list[Setting]]

HERE = Scope()
PRESENT: Numbers = {"": None}


def without_dropout(part: str) -> Mapping[str, object]:
    """The trainings of most claims."""
    return {"dropout": "none"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    id, where, text: its name, its place, what the paper says. scopes: the paper's settings with their numbers. stage: the
    stage whose analyses it needs; part_stages: more stages that a part needs, or another one. floats: the paper has one
    setting; the ids do not name it, and the nearest setting of the store takes its place if it is missing. rates: the range
    of noise rates of the claim. memorizing: all of its numbers need trainings that memorized (else only some, or none).
    atypical: no label is wrong, and S_n is by C-score. trainings: part → the training fields that a number needs, besides
    data set, network and noise rate; a tuple: it needs all values. first: part → a sweep that has to run before, "": none.

    settings: the settings of a store in which the claim can be judged. estimates: {part: estimate} of the claim's numbers in
    one of them; it gets the observations, the setting, and the paper's numbers of that setting. beside: {suffix of the id:
    settings} of other measurements that are shown beside the one that the paper made.
    """

    id: str
    where: str
    text: str
    scopes: Mapping[Scope, Numbers]
    stage: str
    settings: InStore
    estimates: Callable[[Observations, Setting, Numbers], Estimates]
    beside: Mapping[str, InStore] = field(default_factory=dict)
    part_stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    floats: bool = False
    rates: tuple[float, float] = (0.0, 0.5)
    memorizing: bool = True
    atypical: bool = False
    trainings: Callable[[str], Mapping[str, object]] = without_dropout
    first: Callable[[str], str] = lambda part: ""

    @property
    def parts(self) -> list[str]:
        """The names of its numbers, the same in all of the paper's settings."""
        return list(next(iter(self.scopes.values())))

    def stages(self, part: str) -> tuple[str, ...]:
        """The stages whose rows a number needs."""
        return self.part_stages.get(part, (self.stage,))

    def speaks_of(self, setting: Setting) -> bool:
        """Is the setting's noise rate one that the claim is about?"""
        low, high = self.rates
        if self.atypical:
            return setting.scope.noise == 0
        return "noise" not in setting.config or (setting.scope.noise > 0 and low <= setting.scope.noise <= high)


def of_stage(stage: str, **more: object) -> InStore:
    """All settings without dropout that have analyses of a stage; more: as `Observations.settings` takes it."""
    return lambda observations: observations.settings(stage, **more)  # type: ignore[arg-type]


def grid(numbers: Numbers, models: tuple[str, ...] = ("resnet9", "resnet50", "vit_small")) -> dict[Scope, Numbers]:
    """The same numbers for three data sets × models × noise rates (Figures 12–18)."""
    return {Scope(*s): numbers for s in product(("cifar10", "mnist", "svhn"), models, (0.05, 0.1, 0.2))}


def here(numbers: Numbers = PRESENT) -> dict[Scope, Numbers]:
    """The numbers of a claim with one setting."""
    return {HERE: numbers}


def saying(estimate: Estimate, left_out: str) -> Estimate:
    """The estimate, with a note about the trainings that were left out."""
    if left_out and (estimate.decision is not None or estimate.interval is not None):
        return replace(estimate, reason=f"{estimate.reason}; {left_out}")
    return estimate
