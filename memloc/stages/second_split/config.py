"""Second-split forgetting: its settings, what it costs, and the table of its rows (science.md, Detection scores)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import pyarrow as pa

from memloc.config import EpochCount, FieldError, Neutral, TrainConfig
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import INT, SMALL, of_analysis
from memloc.stages.fields import MaskModeConfig, resolve_mask_mode


class SecondSplitConfig(MaskModeConfig):
    """The two trainings of second-split forgetting."""

    epochs: EpochCount | None = None
    """T, the number of passes over each half; null: as many as in the training. [Maini et al., 2022 (paper §6.1)]"""
    batch_norm: Annotated[Literal["train", "frozen"] | None, Neutral("train")] = None
    """The mode of batch norms in both trainings: train, or frozen (evaluation mode from each one's epoch 2 on); null: as
    in the training. [memloc]
    """


class ResolvedSecondSplit(SecondSplitConfig):
    """A resolved `SecondSplitConfig`: the epochs and the mode of batch norms are known."""

    epochs: EpochCount
    batch_norm: Annotated[Literal["train", "frozen"], Neutral("train")]


class SecondSplit(Stage[ResolvedSecondSplit]):
    """Second-split forgetting: the paper's "forgetting time" (§6.1; Maini et al., 2022)."""

    name: ClassVar[str] = "second_split"
    footprint: ClassVar[Literal["less", "as much", "more"]] = "as much"
    version: ClassVar[int] = 2
    renamed: ClassVar[Mapping[str, str]] = {"epochs": "second_split.epochs", "batch_norm": "second_split.batch_norm"}
    tables: ClassVar[Mapping[str, pa.Schema]] = {"second_split": of_analysis(("example", INT), ("time", SMALL))}
    config = SecondSplitConfig

    def resolve(self, config: SecondSplitConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedSecondSplit:
        filled = {"epochs": config.epochs or train.epochs, "batch_norm": config.batch_norm or train.batch_norm.kind}
        return resolve_mask_mode(config, train).resolved_as(ResolvedSecondSplit, **filled)

    def misfit(
        self, config: ResolvedSecondSplit, train: TrainConfig, size: Size, network: NetworkFacts
    ) -> FieldError | None:
        if size.n >= 4:
            return None
        problem = f"{size.n} training examples are cut into halves, and one of them is a single example; valid: at least 4"
        return FieldError("", problem)

    def parts(self, config: ResolvedSecondSplit, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"half": 0}, {"half": 1}]

    def epochs(self, config: ResolvedSecondSplit, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def trained_share(self, size: Size) -> float:
        """As `Stage.trained_share`."""
        return 0.5

    def passes(self, config: ResolvedSecondSplit, size: Size) -> float:
        # Two trainings on n/2, and the first half evaluated after every epoch of the second.
        return 3.0 * size.n * config.epochs + size.n / 2 * (config.epochs + 1)

    def rows(self, config: ResolvedSecondSplit, size: Size) -> Mapping[str, int]:
        return {"second_split": -(-size.n // 2)}


STAGE = SecondSplit()
