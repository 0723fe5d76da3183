"""The memory of a GPU that a training and its analyses need, from their shapes, and what follows from it.

Shapes are counted in float32. Under bf16 and fp16 less is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from memloc.aside import aside
from memloc.config import FieldError, TrainConfig
from memloc.run.by_shape.elsewhere import NeedsValuesError
from memloc.run.by_shape.subject import Subject
from memloc.run.cost import Shape
from memloc.run.network_facts import built
from memloc.run.plan import AnalysisPlan, Parts, TrialPlan
from memloc.sizes import bytes_in_words
from memloc.stages import STAGES
from memloc.stages.base import Size

CONTEXT = 800 << 20  # bytes of CUDA's context, of its libraries' kernels and of their workspaces, about
FRAGMENTS = 0.05  # of the tensors' bytes: what the allocator holds between them, about

Decision: TypeAlias = Literal["plain", "recomputing", "too large"]


@dataclass(frozen=True)
class Needs:
    """The memory of one computation: of a training, or of a part of an analysis that runs alone.

    peak: the most bytes of tensors. kept: those of tensors that stay between batches.
    """

    subject: Subject
    analysis: AnalysisPlan | None
    peak: int
    kept: int

    @property
    def what(self) -> str:
        """`training`, or the analysis."""
        return "training" if self.analysis is None else _named(self.analysis)

    @cached_property
    def recomputed(self) -> int:
        """The most bytes of tensors with activation checkpointing. They are counted when somebody asks."""
        try:
            return _memory(self.subject._replace(recomputing=True), self.analysis)[0]
        except NeedsValuesError:  # it is not known that less is enough
            return self.peak

    @property
    def plain(self) -> int:
        """Bytes of a GPU that it takes, with what CUDA takes."""
        return on_gpu(self.peak)

    @property
    def least(self) -> int:
        """The same with activation checkpointing, where that saves some."""
        return on_gpu(min(self.peak, self.recomputed))

    def as_json(self) -> dict[str, int | str]:
        """For `--json`, in bytes."""
        of_gpu = {"gpu": self.plain, "gpu_recomputed": self.least}
        return {"what": self.what, "peak": self.peak, "kept": self.kept, "recomputed": self.recomputed, **of_gpu}


def on_gpu(tensors: int) -> int:
    """Bytes of a GPU that a process takes whose tensors take so many at their peak."""
    return int(tensors * (1 + FRAGMENTS)) + CONTEXT


def decision(plain: int, least: int, card: int) -> Decision:
    """Whether a computation fits as it is, fits if activations are computed again, or does not fit at all.

    Args:
        plain: the bytes of a GPU that it takes.
        least: the same with activation checkpointing.
        card: the bytes of a GPU that are free for it.
    """
    if plain <= card:
        return "plain"
    return "recomputing" if least <= card else "too large"


def needs(trial: TrialPlan, shape: tuple[int, int, int], analyses: bool = True) -> Iterator[Needs]:
    """The training's needs, then those of its analyses that may need more, each setting of them once.

    shape: C, H, W of an image.
    """
    yield from of_subject(Subject.of(trial, shape), trial.analyses if analyses else ())


def of_subject(subject: Subject, analyses: Iterable[AnalysisPlan]) -> Iterator[Needs]:
    """The same of a training by its shapes.

    Raises:
        NeedsValuesError: shapes alone do not tell it.
    """
    yield Needs(subject, None, *_memory(subject, None))
    told = set()
    for analysis in analyses:
        if analysis.kind.footprint == "more" and _named(analysis) not in told:
            told.add(_named(analysis))
            yield Needs(subject, analysis, *_memory(subject, analysis))


def needs_of_network(config: TrainConfig, shape: Shape, classes: int, examples: tuple[int, int]) -> Iterator[Needs]:
    """The needs of a training of a network, and of the stages that may need more, in their usual setting where it fits.

    examples: the numbers of training and of test examples. Nothing is yielded for a network whose course depends on values.
    """
    network = built(config, shape, classes)
    size = Size(examples[0], round(0.1 * examples[0]), examples[1], network.numbers, network.groups, classes)
    analyses = []
    for name, kind in STAGES.items():
        if kind.footprint == "more":
            with suppress(FieldError):
                settings = kind.resolve(kind.config(), config)
                analyses.append(AnalysisPlan("", name, settings, Parts(kind.parts(settings, config, size)), size))
    try:
        yield from of_subject(Subject(config, size, shape), analyses)
    except NeedsValuesError:
        return


def _named(analysis: AnalysisPlan) -> str:
    return f"{analysis.stage} {getattr(analysis.config, 'at', '')}".strip()


def _memory(subject: Subject, analysis: AnalysisPlan | None) -> tuple[int, int]:
    return aside(_counted, subject, analysis)


def _counted(subject: Subject, analysis: AnalysisPlan | None) -> tuple[int, int]:
    from memloc.run.by_shape.computations import memory_of_part, memory_of_training

    return memory_of_training(subject) if analysis is None else memory_of_part(subject, analysis)


def in_words(need: Needs) -> str:
    """`gradients trajectory 2.6 GB (2.1 GB with activation checkpointing)`."""
    less = f" ({bytes_in_words(need.least)} with activation checkpointing)" if need.least < 0.95 * need.plain else ""
    return f"{need.what} {bytes_in_words(need.plain)}{less}"
