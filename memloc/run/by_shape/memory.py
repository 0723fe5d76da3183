"""The memory of a GPU that a training and its analyses need, from their shapes, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from memloc.run.by_shape.computations import memory_of_part, of_epoch
from memloc.run.by_shape.short_runs import Subject
from memloc.run.plan import TrialPlan
from memloc.sizes import bytes_in_words

CONTEXT = 800 << 20  # bytes of CUDA's context, of its libraries' kernels and of their workspaces, about
FRAGMENTS = 0.05  # of the tensors' bytes: what the allocator holds between them, about
LARGE = ("gradients",)  # stages whose parts need more than a training does, or about as much

Decision: TypeAlias = Literal["plain", "recomputing", "too large"]


@dataclass(frozen=True)
class Needs:
    """The memory of one computation. what: `training`, or an analysis. kept: bytes of tensors that stay between batches.

    peak: the most bytes of tensors. recomputed: the same with activation checkpointing.
    """

    what: str
    peak: int
    kept: int
    recomputed: int

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
        return {"what": self.what, "peak": self.peak, "kept": self.kept, "recomputed": self.recomputed, "gpu": self.plain}


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
    plain, again = (Subject.of(trial, shape, recomputing) for recomputing in (False, True))
    training, recomputed = of_epoch(plain), of_epoch(again)
    yield Needs("training", training.peak, training.kept, recomputed.peak)
    told = set()
    for analysis in trial.analyses if analyses else ():
        what = f"{analysis.stage} {getattr(analysis.config, 'at', '')}".strip()
        if analysis.stage not in LARGE or what in told:
            continue
        told.add(what)
        part, less = memory_of_part(plain, analysis), memory_of_part(again, analysis)
        if part is not None and less is not None:
            yield Needs(what, *part, less[0])


def in_words(need: Needs) -> str:
    """`gradients trajectory 2.6 GB (2.1 GB with activation checkpointing)`."""
    less = f" ({bytes_in_words(need.least)} with activation checkpointing)" if need.least < 0.95 * need.plain else ""
    return f"{need.what} {bytes_in_words(need.plain)}{less}"
