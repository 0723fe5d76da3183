"""Layer retraining: its settings, what it costs, and the table of its rows (science.md, Layer retraining; paper §5.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import ADAMW, Count, EpochCount, FieldError, Neutral, Positive, TrainConfig, UnusedFieldError
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import ACCURACIES, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskedConfig, resolve_sets


class RetrainConfig(MaskedConfig):
    """How a layer is trained anew."""

    epochs: EpochCount = 20
    """E, the number of passes over S_c. [paper §5.2]"""
    peak_epoch: Count | None = None
    """The epoch in which the learning rate peaks, at most E; null: max(1, round(E/2)). [paper §5.2: the 10th of 20]"""
    lr: Positive = 0.1
    """The learning rate at its peak; with optimizer: adamw 0.001 unless given. [paper §5.2; 0.01: published code]"""
    freeze: Annotated[Literal["others", "none"], Neutral("others")] = "others"
    """others: the parameters of all other groups are frozen. none: no parameters are frozen. [others: paper §5.2; none:
    published code]
    """
    stop_after_perfect: Count | None = None
    """The retraining of a group ends after this many perfect epochs, in which every clean example was predicted as
    labelled; null: never. [published code: 3]
    """
    perfect: Annotated[Literal["in_a_row", "in_all"] | None, Neutral("in_a_row")] = None
    """Which perfect epochs count. in_a_row: an imperfect epoch begins the count anew. in_all: the count never begins anew.
    null: in_a_row. Used with stop_after_perfect. [in_a_row: memloc; in_all: published code]
    """
    batches: Annotated[Literal["clean", "filtered"], Neutral("clean")] = "clean"
    """clean: batches are cut from S_c. filtered: batches are cut from S, then the examples of S_n are taken out; the
    learning rate counts the batches of S. [clean: paper §5.2; filtered: published code]
    """
    batch_norm: Annotated[Literal["train", "frozen"] | None, Neutral("train")] = None
    """The mode of batch norms in the retraining: train, or frozen (evaluation mode from its epoch 2 on); null: as in the
    training. [paper §5.2 names no mode, but updates the running statistics; frozen: memloc]
    """


class ResolvedRetrain(RetrainConfig):
    """A resolved `RetrainConfig`: the peak and the mode of batch norms are known; `perfect` too, if there is a stop."""

    peak_epoch: Count
    batch_norm: Annotated[Literal["train", "frozen"], Neutral("train")]


class Retrain(Stage[ResolvedRetrain]):
    """Each layer group trained anew on the clean examples alone (paper §5.2, Figures 4 and 18)."""

    name: ClassVar[str] = "retrain"
    footprint: ClassVar[Literal["less", "as much", "more"]] = "as much"
    version: ClassVar[int] = 2
    extent: ClassVar[tuple[str, ...]] = ("epochs", "peak_epoch")
    usual: ClassVar[Mapping[str, Any]] = {"retrain.lr": 0.1}
    renamed: ClassVar[Mapping[str, str]] = {"lr": "retrain.lr"}
    atlas: ClassVar[tuple[str, ...]] = (
        """SELECT analysis, trial, 'retraining' AS method, layer, NULL AS unit, NULL AS example, 1 - max(noisy_acc) AS score
           FROM retrain WHERE epoch > 0 AND noisy_acc IS NOT NULL GROUP BY ALL""",
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {"retrain": of_analysis(("layer", TEXT), ("epoch", SMALL), *ACCURACIES)}
    lockstep: ClassVar[bool] = True
    config = RetrainConfig

    def resolve(self, config: RetrainConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedRetrain:
        peak = config.peak_epoch or max(1, round(config.epochs / 2))
        if peak > config.epochs:
            raise FieldError("peak_epoch", f"{peak} is beyond retrain.epochs; valid: 1 to {config.epochs}, or null")
        if config.perfect and config.stop_after_perfect is None:
            raise UnusedFieldError("perfect", "used only with stop_after_perfect")
        perfect = config.stop_after_perfect and (config.perfect or "in_a_row")
        batch_norm = config.batch_norm or train.batch_norm.kind
        lr = ADAMW["lr"] if train.optimizer == "adamw" and "lr" not in config.model_fields_set else config.lr
        filled = {"lr": lr, "peak_epoch": peak, "perfect": perfect, "batch_norm": batch_norm}
        return resolve_sets(config, train).resolved_as(ResolvedRetrain, **filled)

    def parts(self, config: ResolvedRetrain, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"layer": group} for group in size.groups]

    def epochs(self, config: ResolvedRetrain, train: TrainConfig, part: Part) -> Sequence[int]:
        return [0, train.epochs]

    def trained_share(self, size: Size) -> float:
        """As `Stage.trained_share`."""
        return 1 - size.n_noisy / size.n

    def passes(self, config: ResolvedRetrain, size: Size) -> float:
        # On average half of the network only forward, the other half forward and backward. Before and after, everything
        # is evaluated.
        step = 3.0 if config.freeze == "none" else 2.0
        return config.epochs * step * (size.n - size.n_noisy) + (config.epochs + 1) * size.n + size.n_test

    def shared(self, config: ResolvedRetrain, size: Size) -> float:
        return 0.0 if config.freeze == "none" else 1 / 3  # what is frozen before a group, about half of every forward pass

    def memory(self, config: ResolvedRetrain, size: Size) -> int:
        # At most a network of its own: parameters, gradient, momentum and update; its logits, in chunks and joined.
        return 4 * (4 * size.parameters + 2 * max(size.n, size.n_test) * size.classes)

    def rows(self, config: ResolvedRetrain, size: Size) -> Mapping[str, int]:
        return {"retrain": config.epochs + 1}


STAGE = Retrain()
