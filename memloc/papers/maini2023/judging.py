"""How a claim meets a store: the settings it can be judged in, and what estimates its numbers in one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.observations import Observations
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.settings import Setting

Parts: TypeAlias = dict[str, Estimate]
Estimates: TypeAlias = Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Judge:
    """settings: those of a store that a claim can be judged in. numbers: its numbers in one of them, {part: estimate}; it
    gets the observations, the setting, and the paper's numbers of that setting.
    """

    settings: Callable[[Observations], list[Setting]]
    numbers: Callable[[Observations, Setting, Numbers], Estimates]


def of_stage(stage: str) -> Callable[[Observations], list[Setting]]:
    """All settings that have analyses of a stage, by label noise, without dropout."""
    return lambda observations: observations.settings(stage)


def saying(estimate: Estimate, left_out: str) -> Estimate:
    """With what is to be said of trainings that were left out."""
    if left_out and estimate.holds is not None:
        return replace(estimate, reason=f"{estimate.reason}; {left_out}")
    return estimate
