"""Short runs of trainings and of parts of analyses, on the device `meta`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

from memloc.models.build import build
from memloc.models.recomputation import recomputing
from memloc.run.by_shape.counting import Counting, Counts
from memloc.run.by_shape.elsewhere import shapes_alone
from memloc.run.by_shape.stand_in import stand_in, stand_in_data
from memloc.run.by_shape.subject import Subject
from memloc.stages.base import Part, Stage
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import Training

META = torch.device("meta")


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
