"""Fields that several stages share: mask modes, the memorized set S_n, checkpoints; and how each is resolved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import AfterValidator

from memloc.config import FieldError, PathOrSweep, Share, StageConfig, TrainConfig, UnusedFieldError, Valid

MaskMode = Literal["plain", "own", "scaled", "dropped"]
MASK_MODES: tuple[MaskMode, ...] = get_args(MaskMode)


class MaskModeConfig(StageConfig):
    """The field of every stage that runs an example-tied network."""

    mask_mode: MaskMode | None = None
    """The masks under which an example-tied network runs (as for evaluate.modes). It is required with dropout:
    example_tied, and unused without. [memloc]
    """


C_SCORE = "c_score:"
MEMORIZED = "labels, c_score:PATH, c_score:sweep:NAME"


def _memorized(value: str) -> str:
    if value == "labels" or value.removeprefix(C_SCORE) not in (value, "", "sweep:"):
        return value
    raise ValueError(f"valid: {MEMORIZED}")


class MaskedConfig(MaskModeConfig):
    """Fields of every stage that runs on both sets. In a plan, the hash of the scores takes the place of PATH or NAME."""

    memorized: Annotated[str, AfterValidator(_memorized), Valid(MEMORIZED), PathOrSweep(C_SCORE)] = "labels"
    """The memorized set S_n: the mislabeled examples (labels), or the examples with a low C-score, from a file or from a
    sweep. [paper §3, §7]
    """
    c_score_below: Share | None = None
    """The C-score below which an example is in S_n; null: 0.5 if memorized names C-scores. [paper §7: 0.5]"""

    def c_scores_from(self) -> str | None:
        return self.memorized.removeprefix(C_SCORE) if self.memorized.startswith(C_SCORE) else None

    def with_c_scores(self, identity: str) -> Self:
        return self.model_copy(update={"memorized": f"{C_SCORE}{identity}"})

    def c_score_threshold(self) -> float | None:
        return self.c_score_below


M = TypeVar("M", bound=MaskModeConfig)


def resolve_mask_mode(config: M, train: TrainConfig) -> M:
    """The configuration itself: mask_mode is required on example-tied trainings, and None on all others.

    Raises:
        FieldError: it is missing. UnusedFieldError: it is given, and there are no example-tied masks.
    """
    if train.example_tied:
        if config.mask_mode is None:
            valid = ", ".join(MASK_MODES)
            raise FieldError("mask_mode", f"required on a training with dropout: example_tied; valid: {valid}")
        return config
    if config.mask_mode is not None:
        raise UnusedFieldError("mask_mode", f"used only with dropout: example_tied (here dropout is {train.dropout.kind})")
    return config


S = TypeVar("S", bound=MaskedConfig)


def resolve_sets(config: S, train: TrainConfig) -> S:
    """Does `resolve_mask_mode`, then completes the fields of the memorized set. C-scores need a training without noise.

    Raises:
        FieldError: C-scores on a training with label noise. UnusedFieldError: a threshold without C-scores.
    """
    config = resolve_mask_mode(config, train)
    if config.c_scores_from() is None:
        if config.c_score_below is not None:
            raise UnusedFieldError("c_score_below", "used only with memorized: c_score:PATH or c_score:sweep:NAME")
        return config
    if train.noise:
        problem = f"C-scores on a training with noise: {train.noise}; valid: noise: 0, or memorized: labels"
        raise FieldError("memorized", problem)
    return config.model_copy(update={"c_score_below": config.c_score_below or 0.5})


def check_epochs(field_name: str, epochs: Sequence[int], train: TrainConfig) -> None:
    """Raises FieldError, for the field of this name, if an epoch is beyond the training's last one."""
    beyond = [t for t in epochs if t > train.epochs]
    if beyond:
        raise FieldError(field_name, f"{', '.join(map(str, beyond))} beyond the last epoch; valid: 0 to {train.epochs}")
    if absent := [t for t in epochs if t not in train.checkpoint_epochs]:
        given = ", ".join(map(str, train.checkpoint_epochs))
        raise FieldError(field_name, f"{', '.join(map(str, absent))}: there is no such checkpoint; given: {given}")
