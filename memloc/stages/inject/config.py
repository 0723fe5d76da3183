"""Injection: its settings, what it costs, and the table of its items (docs/instruments.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from memloc.config import Count, FieldError, StageConfig, TrainConfig
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import BOOL, FLOAT, INT, SMALL, SMALLS, TEXTS, of_analysis
from memloc.stages.neurons.injection import USUAL

BATCH = 48  # clean examples of a step, for estimates


class InjectConfig(StageConfig):
    """How many networks and items, and how an item is put into its channels."""

    networks: Annotated[int, Field(ge=1, le=1000)] = 2
    """The number of networks that are made of the training, each with items of its own. [memloc]"""
    items: Annotated[int, Field(ge=2, le=100)] = 5
    """The number of examples that get a wrong label in a network. [memloc]"""
    share: Annotated[float, Field(gt=0, le=0.2)] = 0.02
    """The share of all channels that an item gets for itself. [memloc]"""
    weights: Literal["out", "in"] = "out"
    """The weights that are trained: those that leave the item's channels, or those that enter them. [memloc]"""
    steps: Count = 150
    """The number of steps after which the training of an item ends at the latest. [memloc]"""


class Inject(Stage[InjectConfig]):
    """Networks with examples in known neurons. Stage `locate` reads them."""

    name: ClassVar[str] = "inject"
    extent: ClassVar[tuple[str, ...]] = ("networks",)
    usual: ClassVar[Mapping[str, Any]] = USUAL
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "injections": of_analysis(
            ("network", SMALL),
            ("example", INT),
            ("label", SMALL),
            ("true_label", SMALL),
            ("layers", TEXTS),
            ("indices", SMALLS),
            ("steps", SMALL),
            ("predicted", BOOL),
            ("cut", BOOL),
            ("spared", BOOL),
            ("accepted", BOOL),
            ("clean_acc_before", FLOAT),
            ("test_acc_before", FLOAT),
            ("clean_acc", FLOAT),
            ("test_acc", FLOAT),
        )
    }
    config = InjectConfig

    def resolve(self, config: InjectConfig, train: TrainConfig, beside: Collection[str] = ()) -> InjectConfig:
        if config.items * config.share > 0.5:
            problem = f"{config.share} for each of {config.items} items are more than half of all channels"
            raise FieldError("share", f"{problem}; valid here: at most {0.5 / config.items:g}")
        return config

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        problem = None
        if not train.architecture.WEIGHT_GATES:
            problem = f"model: {train.architecture.name} is not one chain of convolutions; valid here: resnet9"
        elif train.noise:
            problem = f"noise: {train.noise}, and items are put into a training without label noise; valid: noise: 0"
        elif train.dropout.kind != "none":
            problem = f"dropout: {train.dropout.kind}; valid here: none"
        return {"": problem}

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        return (int(config["networks"]),)

    def misfit(self, config: InjectConfig, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        if size.n_noisy:
            return FieldError(
                "items", f"are put into a training without wrong labels, and {size.n_noisy} labels are wrong as given"
            )
        return None

    def parts(self, config: InjectConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"network": k} for k in range(config.networks)]

    def passes(self, config: InjectConfig, size: Size) -> float:
        return 3.0 * config.items * config.steps / 2 * (BATCH + config.items / 2)

    def rows(self, config: InjectConfig, size: Size) -> Mapping[str, int]:
        return {"injections": config.items}


STAGE = Inject()
