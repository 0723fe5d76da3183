"""Evaluation of one checkpoint in every mask mode (science.md, Example-tied dropout; paper §6.2, Tables 1–3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from memloc.config import FieldError, StageConfig, TrainConfig, as_tuple, distinct
from memloc.models.inference import logits, margins, set_mean
from memloc.stages.base import Inputs, MaskMode, Part, Size, Stage, Tables, check_epochs

MODES: tuple[MaskMode, ...] = ("plain", "own", "scaled", "dropped")
Rescale = Literal["none", "authors", "consistent"]
RESCALES: tuple[Rescale, ...] = ("none", "authors", "consistent")


class EvaluateConfig(StageConfig):
    """epoch: the checkpoint, by default the last. modes: by default all that apply. rescale: of mode dropped."""

    epoch: Annotated[int, Field(ge=0)] | None = None
    modes: (
        Annotated[tuple[MaskMode, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None
    ) = None
    rescale: (
        Annotated[tuple[Rescale, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None
    ) = None


class Evaluate(Stage[EvaluateConfig]):
    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("evaluation", "predictions")
    config = EvaluateConfig

    def resolve(self, config: EvaluateConfig, train: TrainConfig, beside: Collection[str] = ()) -> EvaluateConfig:
        epoch = train.epochs if config.epoch is None else config.epoch
        check_epochs("epoch", [epoch], train)
        tied = train.example_tied is not None
        modes = MODES if tied else ("plain",)
        if config.modes is not None:
            if unfit := [m for m in config.modes if m not in modes]:
                raise FieldError("modes", f"{', '.join(unfit)} with dropout: {train.dropout.kind}; valid: {', '.join(modes)}")
            modes = tuple(m for m in MODES if m in config.modes)
        rescale = None
        if "dropped" in modes:
            rescale = tuple(r for r in RESCALES if r in (config.rescale or RESCALES))
        elif config.rescale is not None:
            raise FieldError("rescale", f"used only with mode dropped (here modes are {', '.join(modes)})")
        return EvaluateConfig(epoch=epoch, modes=modes, rescale=rescale)

    def parts(self, config: EvaluateConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": self._epoch(config)}]

    def epochs(self, config: EvaluateConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [self._epoch(config)]

    def passes(self, config: EvaluateConfig, size: Size) -> float:
        return len(variants(config)) * (size.n + size.n_test)

    def rows(self, config: EvaluateConfig, size: Size) -> Mapping[str, int]:
        return {"evaluation": len(variants(config)), "predictions": len(variants(config)) * size.n}

    def run(self, config: EvaluateConfig, inputs: Inputs, part: Part) -> Tables:
        """Rows of `evaluation` and `predictions`, one mode × rescale after the other."""
        network = inputs.network(self._epoch(config))
        dropout, on_device = inputs.dropout(network), inputs.on_device
        summary: list[dict[str, Any]] = []
        details: list[dict[str, Tensor | list[str]]] = []
        for mode, rescale in variants(config):
            z = logits(network, on_device.x, lambda rows: dropout.evaluation(mode, rows, rescale))  # noqa: B023
            predicted = z.argmax(dim=1)
            correct = predicted == on_device.y
            test_acc = None
            if mode != "own":
                z_test = logits(network, on_device.x_test, lambda rows: dropout.evaluation(mode, rescale=rescale))  # noqa: B023
                test_acc = float((z_test.argmax(dim=1) == on_device.y_test).to(torch.float64).mean())
            summary.append(
                {
                    "mode": mode,
                    "rescale": rescale,
                    "clean_acc": set_mean(correct, ~on_device.noisy),
                    "noisy_acc": set_mean(correct, on_device.noisy),
                    "test_acc": test_acc,
                }
            )
            n = len(correct)
            details.append(
                {
                    "mode": [mode] * n,
                    "rescale": [rescale] * n,
                    "example": torch.from_numpy(inputs.data.example),
                    "predicted": predicted.cpu(),
                    "correct": correct.cpu(),
                    "margin": margins(z, on_device.y).cpu(),
                }
            )
        return {"evaluation": _transpose(summary), "predictions": _concatenate(details)}

    @staticmethod
    def _epoch(config: EvaluateConfig) -> int:
        assert config.epoch is not None, "only resolved configurations are run"
        return config.epoch


def variants(config: EvaluateConfig) -> list[tuple[MaskMode, Rescale]]:
    """The (mode, rescale) pairs of a resolved configuration; rescale is 'none' but for dropped."""
    pairs: list[tuple[MaskMode, Rescale]] = []
    for mode in config.modes or ():
        pairs += [(mode, r) for r in (config.rescale or ("none",))] if mode == "dropped" else [(mode, "none")]
    return pairs


def _transpose(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _concatenate(chunks: list[dict[str, Tensor | list[str]]]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, first in chunks[0].items():
        if isinstance(first, Tensor):
            columns[name] = torch.cat([chunk[name] for chunk in chunks]).numpy()  # type: ignore[misc]
        else:
            columns[name] = [value for chunk in chunks for value in chunk[name]]
    return columns
