"""Gradient accounting: its settings, what it costs, and the table of its rows (science.md; paper §4)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import Epochs, FieldError, Neutral, TrainConfig
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import FLOAT, INT, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskedConfig, check_epochs, resolve_sets

QUANTITIES = ("sq_clean", "sq_noisy", "dot", "sq_control", "dot_control")
CONTROLS = 5  # random sets along the trajectory, whose squared norms and products are averaged


class GradientsConfig(MaskedConfig):
    """Where gradients are taken, and how they are summed."""

    epochs: Epochs | None = None
    """The checkpoints at which, or the epochs along which, gradients are taken; null: all. [paper §4.2, A.1]"""
    bn: Literal["batch", "running"] | None = None
    """The statistics that batch norms use: the batch's, or the running ones; null: those of the training's steps. [paper:
    not said; memloc]
    """
    scale: Annotated[Literal["n", "batch"], Neutral("n")] = "n"
    """n: (1/n) Σ over the set. batch: the sum over batches b of (1/|b|) Σ over the set's examples in b. [paper A.2: the
    sets add up to the total; batch: published code]
    """
    at: Annotated[Literal["trajectory", "checkpoint"], Neutral("checkpoint")] = "trajectory"
    """trajectory: gradients at the weights of every update of an epoch, added up. checkpoint: gradients at the weights after
    the epoch. [trajectory: paper §4, published code; checkpoint: memloc]
    """


class ResolvedGradients(GradientsConfig):
    """A resolved `GradientsConfig`: epochs and the statistics of batch norms are known."""

    epochs: Epochs
    bn: Literal["batch", "running"]


class Gradients(Stage[ResolvedGradients]):
    """The gradients of clean, noisy and random examples, per parameter tensor (paper §4, A.1–A.3, Figures 1, 2, 10–14)."""

    name: ClassVar[str] = "gradients"
    footprint: ClassVar[Literal["less", "as much", "more"]] = "more"
    version: ClassVar[int] = 4
    extent: ClassVar[tuple[str, ...]] = ("epochs", "at")
    usual: ClassVar[Mapping[str, Any]] = {"bn": "batch"}
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "gradients": of_analysis(
            ("epoch", SMALL),
            ("layer", TEXT),
            ("param", TEXT),
            ("numel", INT),
            *((name, FLOAT) for name in QUANTITIES),
        )
    }
    config = GradientsConfig

    def resolve(self, config: GradientsConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedGradients:
        bn = _statistics(config, train)
        if config.at == "trajectory":
            _check_trajectory(config, train)
        first = 1 if config.at == "trajectory" else 0
        epochs = config.epochs or tuple(t for t in train.checkpoint_epochs if t >= first)
        check_epochs("epochs", epochs, train)
        return resolve_sets(config, train).resolved_as(ResolvedGradients, epochs=epochs, bn=bn)

    def parts(self, config: ResolvedGradients, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": t} for t in config.epochs]

    def epochs(self, config: ResolvedGradients, train: TrainConfig, part: Part) -> Sequence[int]:
        return [] if config.at == "trajectory" else [int(part["epoch"])]

    def goes_on_from(self, config: ResolvedGradients, part: Part) -> int | None:
        return int(part["epoch"]) - 1 if config.at == "trajectory" else None

    def passes(self, config: ResolvedGradients, size: Size) -> float:
        if config.at == "trajectory":  # the steps of the training, and a backward pass for every set
            return (3.0 + 2.0 * (2 + CONTROLS)) * size.n
        # A forward pass, and three backward passes of two each, or one.
        return (7.0 if config.bn == "batch" else 3.0) * size.n

    def rows(self, config: ResolvedGradients, size: Size) -> Mapping[str, int]:
        return {"gradients": 3 * len(size.groups)}


def _statistics(config: GradientsConfig, train: TrainConfig) -> Literal["batch", "running"]:
    """The resolved `bn`, by default as in the training's steps; raises FieldError for statistics that no step uses."""
    frozen = train.batch_norm.kind == "frozen"
    bn: Literal["batch", "running"] = config.bn or ("running" if frozen else "batch")
    if frozen and bn == "batch":
        steps = "its steps use the running statistics from epoch 2 on"
        raise FieldError("bn", f"batch on a training with batch_norm: frozen ({steps}); valid: running")
    if config.at == "trajectory" and bn == "running" and not frozen:
        raise FieldError("bn", "running with at: trajectory; valid: batch, whose statistics a training's steps use")
    return bn


def _check_trajectory(config: GradientsConfig, train: TrainConfig) -> None:
    """Raises FieldError for settings that need a checkpoint, and for trainings whose steps cannot be split by sets."""
    if train.given_from is not None:
        problem = "trajectory needs the training pass, and these checkpoints are from elsewhere; valid: checkpoint"
        raise FieldError("at", problem)
    if 0 in (config.epochs or ()):
        raise FieldError("epochs", "0 with at: trajectory; valid: 1 to T, the epochs that have updates")
    if train.example_tied and config.mask_mode not in (None, "own"):
        problem = f"{config.mask_mode} with at: trajectory; valid: own, the masks a training's steps use"
        raise FieldError("mask_mode", problem)
    if train.precision == "fp16" or train.compile:
        what = "precision: fp16" if train.precision == "fp16" else "compile: true"
        raise FieldError("at", f"trajectory is not available for a training with {what}; valid: checkpoint")


STAGE = Gradients()
