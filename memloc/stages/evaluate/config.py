"""Evaluation: its settings, what it costs, and the tables of its rows (science.md, Example-tied dropout; paper §6.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import (
    Checkpoints,
    CountOrZero,
    FieldError,
    StageConfig,
    TrainConfig,
    UnusedFieldError,
    as_tuple,
    distinct,
)
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import ACCURACIES, BOOL, FLOAT, INT, SINGLE, SMALL, TEXT, of_analysis
from memloc.stages.fields import MASK_MODES, MaskMode, check_epochs

Rescale = Literal["none", "authors", "consistent"]
RESCALES: tuple[Rescale, ...] = get_args(Rescale)


class EvaluateConfig(StageConfig):
    """Which checkpoint is evaluated, and under which masks."""

    epoch: Annotated[CountOrZero, Checkpoints()] | None = None
    """The checkpoint that is evaluated; null: the last. [memloc]"""
    modes: (
        Annotated[tuple[MaskMode, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None
    ) = None
    """plain: without example-tied masks. own: under each training example's own mask. scaled: memorization channels times
    p_mem. dropped: memorization channels at 0. null: plain, and with example-tied dropout all four. [own, dropped: paper
    §6.2; plain, scaled: memloc]
    """
    rescale: (
        Annotated[tuple[Rescale, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None
    ) = None
    """The factor of the generalization channels in mode dropped. none: 1. authors: (p_gen + p_mem)/p_gen. consistent: (g
    + p_mem·(1 − g))/g, g = G/C. null: each of the three. [none: paper §6.2; authors: published code; consistent: memloc]
    """


class ResolvedEvaluate(EvaluateConfig):
    """A resolved `EvaluateConfig`: epoch and modes are known. rescale: None unless the modes have `dropped`."""

    epoch: int
    modes: tuple[MaskMode, ...]


class Evaluate(Stage[ResolvedEvaluate]):
    """Accuracies and predictions of one checkpoint in every mask mode (paper §6.2, Tables 1–3)."""

    name: ClassVar[str] = "evaluate"
    forward_only: ClassVar[bool] = True
    version: ClassVar[int] = 2
    extent: ClassVar[tuple[str, ...]] = ("epoch", "modes", "rescale")
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "evaluation": of_analysis(("mode", TEXT), ("rescale", TEXT), *ACCURACIES, ("noisy_true_acc", FLOAT)),
        "predictions": of_analysis(
            ("mode", TEXT),
            ("rescale", TEXT),
            ("example", INT),
            ("predicted", SMALL),
            ("correct", BOOL),
            ("margin", SINGLE),
        ),
    }
    config = EvaluateConfig

    def resolve(self, config: EvaluateConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedEvaluate:
        epoch = train.epochs if config.epoch is None else config.epoch
        check_epochs("epoch", [epoch], train)
        tied = train.example_tied is not None
        modes = MASK_MODES if tied else ("plain",)
        if config.modes is not None:
            if unfit := [m for m in config.modes if m not in modes]:
                raise FieldError(
                    "modes", f"{', '.join(unfit)} with dropout: {train.dropout.kind}; valid: {', '.join(modes)}"
                )
            modes = tuple(m for m in MASK_MODES if m in config.modes)
        rescale = None
        if "dropped" in modes:
            rescale = tuple(r for r in RESCALES if r in (config.rescale or RESCALES))
        elif config.rescale is not None:
            raise UnusedFieldError("rescale", f"used only with mode dropped (here modes are {', '.join(modes)})")
        return ResolvedEvaluate(epoch=epoch, modes=modes, rescale=rescale)

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        return len(config.get("modes") or ()), int("none" in (config.get("rescale") or ()))

    def parts(self, config: ResolvedEvaluate, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": config.epoch}]

    def epochs(self, config: ResolvedEvaluate, train: TrainConfig, part: Part) -> Sequence[int]:
        return [config.epoch]

    def passes(self, config: ResolvedEvaluate, size: Size) -> float:
        return len(variants(config)) * (size.n + size.n_test)

    def rows(self, config: ResolvedEvaluate, size: Size) -> Mapping[str, int]:
        return {"evaluation": len(variants(config)), "predictions": len(variants(config)) * size.n}


def variants(config: ResolvedEvaluate) -> list[tuple[MaskMode, Rescale]]:
    """The (mode, rescale) pairs of a resolved configuration. rescale is 'none' in every mode but dropped."""
    pairs: list[tuple[MaskMode, Rescale]] = []
    for mode in config.modes:
        pairs += [(mode, r) for r in (config.rescale or ("none",))] if mode == "dropped" else [(mode, "none")]
    return pairs


STAGE = Evaluate()
