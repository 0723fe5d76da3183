"""Layer retraining: its settings, what it costs, and the table of its rows (science.md, Layer retraining; paper §5.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import pyarrow as pa

from memloc.config import Count, Neutral, Positive, TrainConfig
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import ACCURACIES, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskedConfig, resolve_sets


class RetrainConfig(MaskedConfig):
    """epochs: E. peak_epoch: where the learning rate peaks, by default max(1, round(E/2)). lr: the peak.

    freeze: the parameters of the others, or none. stop_after_perfect: a group is left as it is after that many epochs in a
    row in which every clean example's training pass was right; its rows stay the same from there. batches: cut from S_c
    (clean), or cut from S and then rid of S_n (filtered): the learning rate then goes by the batches of S.
    batch_norm: the mode of the retraining itself, by default the training's; frozen is evaluation mode from its epoch 2 on.
    """

    epochs: Count = 20
    peak_epoch: Count | None = None
    lr: Positive = 0.1
    freeze: Annotated[Literal["others", "none"], Neutral("others")] = "others"
    stop_after_perfect: Count | None = None
    batches: Annotated[Literal["clean", "filtered"], Neutral("clean")] = "clean"
    batch_norm: Annotated[Literal["train", "frozen"] | None, Neutral("train")] = None


class Retrain(Stage[RetrainConfig]):
    name: ClassVar[str] = "retrain"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, pa.Schema]] = {"retrain": of_analysis(("layer", TEXT), ("epoch", SMALL), *ACCURACIES)}
    lockstep: ClassVar[bool] = True
    config = RetrainConfig

    def resolve(self, config: RetrainConfig, train: TrainConfig, beside: Collection[str] = ()) -> RetrainConfig:
        peak = config.peak_epoch or max(1, round(config.epochs / 2))
        batch_norm = config.batch_norm or train.batch_norm.kind
        return resolve_sets(config, train).model_copy(update={"peak_epoch": peak, "batch_norm": batch_norm})

    def parts(self, config: RetrainConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"layer": group} for group in size.groups]

    def epochs(self, config: RetrainConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [0, train.epochs]

    def passes(self, config: RetrainConfig, size: Size) -> float:
        # On average half of the network only forward, the other half forward and backward. Before and after, everything
        # is evaluated.
        step = 3.0 if config.freeze == "none" else 2.0
        return config.epochs * step * (size.n - size.n_noisy) + (config.epochs + 1) * size.n + size.n_test

    def shared(self, config: RetrainConfig, size: Size) -> float:
        return 0.0 if config.freeze == "none" else 1 / 3  # what is frozen before a group, about half of every forward pass

    def memory(self, config: RetrainConfig, size: Size) -> int:
        # At most a network of its own: parameters, gradient, momentum and update; its logits, in chunks and joined.
        return 4 * (4 * size.parameters + 2 * max(size.n, size.n_test) * size.classes)

    def rows(self, config: RetrainConfig, size: Size) -> Mapping[str, int]:
        return {"retrain": config.epochs + 1}


STAGE = Retrain()
