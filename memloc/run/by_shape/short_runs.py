"""Short runs of trainings and of parts of analyses, on the device `meta`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from memloc.config import TrainConfig
from memloc.models.build import build
from memloc.models.recomputation import recomputing
from memloc.run.by_shape.counting import Counting, Counts
from memloc.run.by_shape.elsewhere import shapes_alone
from memloc.run.by_shape.stand_in import Shape, stand_in, stand_in_data
from memloc.run.plan import TrialPlan
from memloc.stages.base import Part, Size, Stage
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import Training

META = torch.device("meta")
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


@lru_cache(maxsize=512)
def epoch_counts(subject: Subject) -> Counts:
    """An epoch of a training, and its evaluation."""
    return steps_counts(subject)[-1]


def steps_counts(subject: Subject, device: torch.device = META) -> list[Counts]:
    """The counts up to the forward pass of each step of an epoch, then those of all of it with its evaluation."""
    config, size, shape, recomputes = subject
    marks: list[Counts] = []
    with shapes_alone(config), _counting(device, recomputes) as counting:
        weights = None
        if device.type == "meta":
            with device:
                weights = build(config, shape, size.classes).state_dict()
        training = Training(config, stand_in_data(size, shape), device, weights)
        del weights
        training.train_epoch(1, lambda *_: marks.append(counting.counts.copy()))
        marks.append(counting.counts.copy())
        del training
    return marks


def part_counts(subject: Subject, kind: Stage[Any], config: Any, part: Part, again: bool = False) -> Counts:
    """A part that runs alone; again: one after which the same process has computed it once before."""
    return _part_counts(subject, kind, config, tuple(sorted(part.items())), again)


@lru_cache(maxsize=512)
def _part_counts(subject: Subject, kind: Stage[Any], config: Any, part: tuple[tuple[str, Any], ...], again: bool) -> Counts:
    with shapes_alone(subject.config, kind), _counting(META, subject.recomputing) as counting:
        inputs = stand_in(subject.config, stand_in_data(subject.size, subject.shape), META)
        counts = Counts()
        for _ in range(1 + again):
            before = counting.counts.copy()
            _run(kind, config, inputs, dict(part))
            counts = counting.counts.copy().since(before)
        del inputs
    return counts


def _run(kind: Stage[Any], config: Any, inputs: Inputs, part: Part) -> None:
    for _ in kind.run_together(config, inputs, [part]):
        pass


@contextmanager
def _counting(device: torch.device, recomputes: bool) -> Iterator[Counting]:
    with warnings.catch_warnings(), recomputing(recomputes), Counting(device.type) as counting:
        warnings.filterwarnings("ignore", ".* is a no-op")  # weights that come back from the host, where there are none
        yield counting
