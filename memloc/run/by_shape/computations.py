"""Trainings and parts of analyses by their shapes: their own code runs on the device `meta`, on a few batches.

Runs of different length tell what each further batch and epoch takes. So the counts of all of them follow without running
them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from memloc.config import StageConfig
from memloc.models.inference import GROUP_SIZE
from memloc.run.by_shape.counting import Counts
from memloc.run.by_shape.flip_searches import of_flips
from memloc.run.by_shape.short_runs import epoch_counts, part_counts, steps_counts
from memloc.run.by_shape.subject import Subject
from memloc.run.by_shape.taken import Taken
from memloc.run.plan import AnalysisPlan
from memloc.stages.base import Part, Stage

FEWEST = 2  # batches of a run: the second one has momentum
SMALLEST = 0.1  # share of the examples; a set that is trained on alone and is smaller meets fewer batches in a run


def of_epoch(subject: Subject) -> Taken:
    """One epoch of a training and the evaluation after it; memory is that of the whole training."""
    return _over_lengths(subject, epoch_counts, 1.0)


def of_step(subject: Subject) -> Counts:
    """One step with a whole batch, after the first one: from the end of its forward pass to that of the next one."""
    size, batch = subject.size, subject.config.batch_size
    first, second, *_ = steps_counts(subject.of_length(max(2 * min(batch, size.n), 2), 0))
    return second.since(first)


def of_part(subject: Subject, analysis: AnalysisPlan) -> Taken:
    """A part of an analysis that runs alone."""
    kind, config, of_set = analysis.kind, analysis.config, subject._replace(size=analysis.size)
    part = _typical(subject, kind, config)
    return of_flips(of_set, kind, config, part) if analysis.stage == "flips" else _of_part(of_set, kind, config, part)


def memory_of_training(subject: Subject) -> tuple[int, int]:
    """(peak, kept) of a training: the bytes of tensors. It is one run over two batches, where `of_epoch` takes three runs.

    What all examples add is their images and labels; their logits and dynamics, ten times smaller, are not counted.
    """
    short, held = _short(subject)
    counts = epoch_counts(short)
    return counts.peak + held, counts.kept + held


def memory_of_part(subject: Subject, analysis: AnalysisPlan) -> tuple[int, int]:
    """The same of a part that runs alone."""
    kind, config = analysis.kind, analysis.config
    short, held = _short(subject._replace(size=analysis.size))
    counts = part_counts(short, kind, config, _typical(subject, kind, config))
    return counts.peak + held, counts.kept + held


def _short(subject: Subject) -> tuple[Subject, int]:
    """(two batches of it, bytes of the images and labels that are left out)."""
    size, (c, h, w) = subject.size, subject.shape
    n, tests = min(size.n, _lengths(size.n, subject.config.batch_size, 1.0)[0]), min(size.n_test, GROUP_SIZE)
    return subject.of_length(n, tests), (size.n - n + size.n_test - tests) * (c * h * w + 8)


def _typical(subject: Subject, kind: Stage[Any], config: Any) -> Part:
    """The part that is counted: of epochs one before the last, of layers the first, which needs most memory."""
    parts = kind.parts(config, subject.config, subject.size)
    return next((part for part in parts if part.get("epoch") != subject.config.epochs), parts[0])


def _of_part(subject: Subject, kind: Stage[Any], config: Any, part: Part) -> Taken:
    size = subject.size
    share = kind.trained_share(size)
    epochs = getattr(config, "epochs", None)
    if not isinstance(epochs, int):
        return _over_lengths(subject, lambda short: part_counts(short, kind, config, part), share)
    once, twice = (_epochs(subject, kind, _with_epochs(config, count), part, share) for count in (1, 2))
    further = epochs - 1
    terms = [(w * (1 - further), c) for w, c in once.terms] + [(w * further, c) for w, c in twice.terms]
    return Taken(tuple(terms), twice.memory)


def _epochs(subject: Subject, kind: Stage[Any], config: Any, part: Part, share: float) -> Taken:
    return _over_lengths(subject, lambda short: part_counts(short, kind, config, part), share)


def _with_epochs(config: StageConfig, epochs: int) -> StageConfig:
    peak = {"peak_epoch": 1} if "peak_epoch" in type(config).model_fields else {}
    return config.model_copy(update={"epochs": epochs, **peak})


def _over_lengths(subject: Subject, count: Callable[[Subject], Counts], share: float) -> Taken:
    """What all examples take, from runs over few of them. share: of the examples, those that are trained on."""
    size = subject.size
    n, n_more = _lengths(size.n, subject.config.batch_size, share)
    tests = min(size.n_test, GROUP_SIZE)
    base = count(subject.of_length(n, tests))
    weight, longer = 1.0, []
    if size.n > n:
        longer.append(((size.n - n) / (n_more - n), count(subject.of_length(n_more, tests))))
    if size.n_test > tests:
        longer.append(((size.n_test - tests) / GROUP_SIZE, count(subject.of_length(n, tests + GROUP_SIZE))))
    weight -= sum(more for more, _ in longer)
    terms = ((weight, base), *longer)
    return Taken(terms, terms)


def _lengths(n: int, batch: int, share: float) -> tuple[int, int]:
    """Two numbers of examples, of which at least two and three batches are trained on; n alone if there are no more."""
    unit = batch * math.ceil(GROUP_SIZE / batch)
    few = unit * math.ceil(FEWEST / max(share, SMALLEST))
    more = few + unit * math.ceil(1 / max(share, SMALLEST))
    return (n, n) if n <= more else (few, more)
