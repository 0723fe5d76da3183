"""The execution settings of a trial: how its stages are computed, on which no result depends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from memloc.models.recomputation import is_recomputing, recomputing
from memloc.run.plan import TrialPlan
from memloc.stages.training.graphed import graphed_steps


@contextmanager
def as_planned(trial: TrialPlan, stage: str) -> Iterator[None]:
    """Inside of it a stage of the trial, or `train`, is computed as its plan says.

    What computes activations again anyway has run out of memory before. It does so with plain steps: a graph holds the
    memory of a step from step to step.
    """
    again = is_recomputing()
    with recomputing(again or stage in trial.recompute), graphed_steps(trial.graphed and not again):
        yield
