"""Counts the training examples whose margin in `predictions` is above a number: reads another stage's rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar

import pyarrow as pa

from memloc.config import Epochs, FieldError, PathOrSweep, StageConfig, TrainConfig
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import INT, of_analysis


class CountConfig(StageConfig):
    """above: the margin from which on an example counts. seen: checkpoints, which it keeps. examples: a file of some."""

    above: float = 0.0
    seen: Epochs | None = None
    examples: Annotated[str, PathOrSweep("file:")] | None = None


class Count(Stage[CountConfig]):
    name: ClassVar[str] = "count"
    version: ClassVar[int] = 1
    extent: ClassVar[tuple[str, ...]] = ("seen",)
    tables: ClassVar[Mapping[str, pa.Schema]] = {"counts": of_analysis(("above", INT), ("known", INT))}
    reads = ("evaluate",)
    config = CountConfig

    def resolve(self, config: CountConfig, train: TrainConfig, beside: Collection[str] = ()) -> CountConfig:
        return config

    def misfit(self, config: CountConfig, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        if config.above < max(size.n, network.neurons):
            return None
        return FieldError("above", f"{config.above}: above {size.n} examples and {network.neurons} neurons")

    def parts(self, config: CountConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: CountConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def keeps(self, config: CountConfig) -> Sequence[int]:
        return config.seen or ()

    def passes(self, config: CountConfig, size: Size) -> float:
        return 0.0

    def rows(self, config: CountConfig, size: Size) -> Mapping[str, int]:
        return {"counts": 1}


STAGE = Count()
