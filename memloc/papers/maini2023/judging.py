"""How a claim is judged on a store: its settings there, and the estimates of its numbers in a setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.observations import Observations
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.settings import Setting

Parts: TypeAlias = dict[str, Estimate]
Estimates: TypeAlias = Mapping[str, Estimate | None]


@dataclass(frozen=True)
class Judge:
    """Two functions that judge a claim.

    settings: the settings of a store in which the claim can be judged. numbers: {part: estimate} of the claim's numbers in
    one of them; it gets the observations, the setting, and the paper's numbers of that setting. beside: {suffix of the id:
    settings} of other measurements that are shown beside the one that the paper made.
    """

    settings: Callable[[Observations], list[Setting]]
    numbers: Callable[[Observations, Setting, Numbers], Estimates]
    beside: Mapping[str, Callable[[Observations], list[Setting]]] = field(default_factory=dict)


def of_stage(stage: str) -> Callable[[Observations], list[Setting]]:
    """All settings without dropout that have analyses of a stage with S_n by label noise."""
    return lambda observations: observations.settings(stage)


def saying(estimate: Estimate, left_out: str) -> Estimate:
    """The estimate, with a note about the trainings that were left out."""
    if left_out and (estimate.decision is not None or estimate.interval is not None):
        return replace(estimate, reason=f"{estimate.reason}; {left_out}")
    return estimate
