"""A part of flips by its shapes. Its searches end where predictions change, so they are taken to be as long as usual."""

from __future__ import annotations

from typing import Any

from memloc.models.inference import GROUP_SIZE
from memloc.run.by_shape.short_runs import part_counts
from memloc.run.by_shape.subject import Subject
from memloc.run.by_shape.taken import Taken
from memloc.stages.base import Part, Stage
from memloc.stages.flips.config import STEPS

IMAGES = 400  # of the training set, on which accuracy is measured in the run; half as many of the test set


def of_flips(subject: Subject, kind: Stage[Any], config: Any, part: Part) -> Taken:
    """A part whose searches close as many neurons as usual, after the first one of its process.

    Where nothing is computed, a search goes on until it has closed `max_neurons`.
    """
    size = subject.size
    n, n_test = min(size.n, max(4 * IMAGES, 2 * subject.config.batch_size)), min(size.n_test, GROUP_SIZE)
    short = subject.of_length(n, n_test)
    one, two = (config.model_copy(update={"max_neurons": count, "post_eval": 0}) for count in (1, 2))
    closed_one, closed_two = (part_counts(short, kind, c, part, again=True) for c in (one, two))
    first = part_counts(short, kind, two, part)  # it computes what all searches share; memory is that of this one
    closings = min(STEPS, config.max_neurons)
    terms = [(1.0 - (closings - 1), closed_one), (float(closings - 1), closed_two)]
    memory = [first]
    if config.post_eval != 0:
        with_accuracy = one.model_copy(update={"post_eval": min(IMAGES, n)})
        measured = part_counts(short, kind, with_accuracy, part, again=True)
        passes = kind.passes(config, size) - kind.passes(config.model_copy(update={"post_eval": 0}), size)
        of_run = kind.passes(with_accuracy, short.size) - kind.passes(one, short.size)
        terms += [(passes / of_run, measured), (-passes / of_run, closed_one)]
        memory.append(part_counts(short, kind, with_accuracy, part))
    largest = max(memory, key=lambda counts: counts.peak)
    c, h, w = subject.shape
    held = (size.n - n + size.n_test - n_test) * (c * h * w + 8)  # images and labels of the examples that are not there
    return Taken(tuple(terms), ((1.0, largest),), held)
