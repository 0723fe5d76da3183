"""A claim of a paper as data, with the function that estimates its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeAlias

from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed
from memloc.analysis.settings import DATASETS, MODELS, Scope, Setting
from memloc.papers.deciding import Estimate

Numbers: TypeAlias = Mapping[str, float | None]  # {part: the paper's number, None where it has words alone}
Estimates: TypeAlias = Mapping[str, Estimate | None]
InStore: TypeAlias = Callable[[Observations], list[Setting]]

HERE = Scope()
PRESENT: Numbers = {"": None}
RATES = (0.05, 0.1, 0.2)  # of label noise


def of_stage(stage: str, **more: Any) -> InStore:
    """All settings without dropout that have analyses of a stage; more: as `Observations.settings` takes it."""
    return lambda observations: observations.settings(stage, **more)


def grid(numbers: Numbers, models: tuple[str, ...] = MODELS) -> dict[Scope, Numbers]:
    """The same numbers for three data sets × models × noise rates (Figures 12–18)."""
    return {Scope(*s): numbers for s in product(DATASETS, models, RATES)}


def here(numbers: Numbers = PRESENT) -> dict[Scope, Numbers]:
    """The numbers of a claim with one setting."""
    return {HERE: numbers}


@dataclass(frozen=True)
class Case(Observed):
    """A setting in which a claim is judged. numbers: the paper's of this setting; empty if it has none."""

    numbers: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    id, where, text: its name, its place, what the paper says. stage: the stage whose analyses it needs; part_stages: more
    stages that a part needs, or another one. estimate: of its number in one setting, or of several {part: estimate}. scopes:
    the paper's settings with their numbers. rates: the range of noise rates of the claim; (0, 0): without label noise.
    memorizing: all of its numbers need trainings that memorized (else only some, or none). atypical: no label is wrong, and
    S_n is by C-score.

    settings: those of a store in which the claim can be judged; by default all without dropout that have the stage. beside:
    {suffix of the id: settings} of other measurements that are shown beside the one that the paper made. trainings: part →
    the training fields that a number needs, besides data set, network and noise rate; a tuple: it needs all values. first:
    part → a sweep that has to run before, "": none.
    """

    id: str
    where: str
    text: str
    stage: str
    estimate: Callable[[Case], Estimate | Estimates]
    scopes: Mapping[Scope, Numbers] = field(default_factory=here)
    rates: tuple[float, float] = (0.0, 0.5)
    memorizing: bool = True
    atypical: bool = False
    settings: InStore | None = None
    beside: Mapping[str, InStore] = field(default_factory=dict)
    part_stages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    trainings: Callable[[str], Mapping[str, object]] = lambda part: {"dropout": "none"}
    first: Callable[[str], str] = lambda part: ""

    @property
    def floats(self) -> bool:
        """Has the paper one setting? The ids then do not name it, and the nearest one of the store takes its place."""
        return list(self.scopes) == [HERE]

    @property
    def measurements(self) -> dict[str, InStore]:
        """{suffix of the id: settings}, "" for the paper's measurement."""
        return {"": self.settings or of_stage(self.stage), **self.beside}

    @property
    def numbers(self) -> Numbers:
        """{part: number} in the first of the paper's settings; all of them have the same parts."""
        return next(iter(self.scopes.values()))

    def estimates(self, case: Case) -> Estimates:
        """{part: estimate} in a setting."""
        found = self.estimate(case)
        return {"": found} if isinstance(found, Estimate) else found

    def stages(self, part: str) -> tuple[str, ...]:
        """The stages whose rows a number needs."""
        return self.part_stages.get(part, (self.stage,))

    def speaks_of(self, setting: Setting) -> bool:
        """Is the setting's noise rate one that the claim is about?"""
        low, high = self.rates
        if self.atypical:
            return setting.scope.noise == 0
        noise = setting.scope.noise
        return "noise" not in setting.config or (low <= noise <= high and (noise > 0 or high == 0))
