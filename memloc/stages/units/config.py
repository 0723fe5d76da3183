"""Units: their settings, what they cost, and the tables of their rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import Count, Epochs, Share, TrainConfig
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import ACCURACIES, BOOL, FLOAT, INT, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskModeConfig, check_epochs, resolve_mask_mode

DRAWS = 10  # random sets beside every closing
SCORES = ("unit_mem", "class_mem")


class UnitsConfig(MaskModeConfig):
    """The checkpoints whose units are described, the copies of the images, and how many units are closed."""

    epochs: Epochs | None = None
    """The checkpoints whose units are described; null: the last. [memloc]"""
    copies: Count = 10
    """The number of augmented copies of each image over which its activations are averaged. [Wang et al., 2024]"""
    augment: Literal["none", "crop", "crop_flip"] = "crop"
    """How the copies are changed: crop shifts them, crop_flip shifts and mirrors them. [memloc]"""
    close: Share = 0.05
    """The share of all units that are closed, those with the highest score; beside them ten random sets. [memloc]"""


class ResolvedUnits(UnitsConfig):
    """A resolved `UnitsConfig`: the epochs are known."""

    epochs: Epochs


class Units(Stage[ResolvedUnits]):
    """UnitMem and ClassMem of every unit (Wang et al. 2024), and what closing the highest ones costs beside random ones."""

    name: ClassVar[str] = "units"
    forward_only: ClassVar[bool] = True
    version: ClassVar[int] = 4
    extent: ClassVar[tuple[str, ...]] = ("epochs",)
    usual: ClassVar[Mapping[str, Any]] = {"copies": 10, "augment": "crop", "close": 0.05}
    atlas: ClassVar[tuple[str, ...]] = tuple(
        f"""SELECT u.analysis, u.trial, '{score}' AS method, u.layer, u.unit, NULL AS example,
                   coalesce(u.{score}, 0) AS score
            FROM units AS u JOIN trials AS t ON t.trial = u.trial AND t.epochs = u.epoch"""
        for score in SCORES
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "units": of_analysis(
            ("epoch", SMALL),
            ("layer", TEXT),
            ("unit", INT),
            ("unit_mem", FLOAT),
            ("class_mem", FLOAT),
            ("example", INT),
            ("noisy", BOOL),
        ),
        "unit_closings": of_analysis(("epoch", SMALL), ("score", TEXT), ("draw", SMALL), ("closed", INT), *ACCURACIES),
    }
    config = UnitsConfig

    def resolve(self, config: UnitsConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedUnits:
        epochs = config.epochs or (train.epochs,)
        check_epochs("epochs", epochs, train)
        return resolve_mask_mode(config, train).resolved_as(ResolvedUnits, epochs=epochs)

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        none = "the network has no units: no convolution, no attention head, no hidden unit that an activation follows"
        return {"": None if network.neurons else none}

    def parts(self, config: ResolvedUnits, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": t} for t in config.epochs]

    def epochs(self, config: ResolvedUnits, train: TrainConfig, part: Part) -> Sequence[int]:
        return [int(part["epoch"])]

    def keeps(self, config: ResolvedUnits) -> Sequence[int]:
        return config.epochs

    def passes(self, config: ResolvedUnits, size: Size) -> float:
        return config.copies * size.n + len(SCORES) * (1 + DRAWS) * (size.n + size.n_test)

    def rows(self, config: ResolvedUnits, size: Size) -> Mapping[str, int]:
        return {"unit_closings": len(SCORES) * (1 + DRAWS)}


STAGE = Units()
