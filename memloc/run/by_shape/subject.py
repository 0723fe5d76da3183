"""A training as far as shapes depend on it. Imports no torch."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from memloc.config import TrainConfig
from memloc.run.cost import Shape
from memloc.run.plan import TrialPlan
from memloc.stages.base import Size

UNIMPORTANT = {
    "seed": 0,
    "data_seed": 0,
    "noise_seed": None,
    "held_out": None,
    "compile": False,
    "stop": None,
    "precision": "fp32",
}


class Subject(NamedTuple):
    """A training, as far as shapes depend on it.

    shape: C, H, W of an image. recomputing: are activations computed again in the backward pass (activation checkpointing)?
    """

    config: TrainConfig
    size: Size
    shape: Shape
    recomputing: bool = False

    @staticmethod
    def of(trial: TrialPlan, shape: Shape, recomputing: bool = False) -> Subject:
        """Trainings that differ in their seeds alone are one."""
        return Subject(trial.config.model_copy(update=UNIMPORTANT), trial.size, shape, recomputing)

    def of_length(self, n: int, n_test: int) -> Subject:
        """The same with other numbers of examples, whose sets have the same shares of them."""
        share = n / self.size.n
        noisy, out = (round(share * count) for count in (self.size.n_noisy, self.size.n_out))
        return self._replace(size=replace(self.size, n=n, n_test=n_test, n_noisy=noisy, n_out=out))
