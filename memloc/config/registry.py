"""What a sweep can choose from: the fields of trainings, those of every architecture included, and the stages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from memloc.config.resolve import TrainingFields
from memloc.config.source import SourceConfig
from memloc.config.training import TrainConfig
from memloc.config.types import StageConfig
from memloc.own_code import OwnCode


class StageType(Protocol):
    """What a sweep needs to know of a stage; see stages.base.Stage."""

    config: type[StageConfig]

    def resolve(self, config: Any, train: TrainConfig, beside: Collection[str]) -> Any:
        """The configuration, completed with what the training and the block's other stages (`beside`) imply."""

    def trainings(self, config: Any, train: TrainConfig, n: Callable[[], int]) -> Iterable[TrainConfig]:
        """The trainings that replace a training of a block with the stage. n: returns the number of examples."""


@dataclass(frozen=True)
class Registry:
    """training: the flat fields of trainings. stages: by name. count_examples: gives the number of training examples
    of a data set. with_plugins: gives the stages with those of the user's files."""

    training: TrainingFields
    stages: Mapping[str, StageType]
    count_examples: Callable[[SourceConfig], int]
    with_plugins: Callable[[tuple[OwnCode, ...]], Mapping[str, StageType]]

    def extended(self, codes: tuple[OwnCode, ...]) -> Registry:
        """The registry with what these files of the user's add.

        Raises:
            UsageError: one of them cannot be used.
        """
        return replace(self, stages=self.with_plugins(codes))
