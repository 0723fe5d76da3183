"""What each depth knows: its settings, what it costs, and the tables of its rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import Count, Epochs, TrainConfig
from memloc.models.probe_sites import INPUT, SOFTMAX
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import ACCURACIES, FLOAT, INT, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskModeConfig, check_epochs, resolve_mask_mode


class DepthConfig(MaskModeConfig):
    """The checkpoints that are probed, and the examples that the probes are made of."""

    epochs: Epochs | None = None
    """The checkpoints that are probed; null: the last. [Baldock et al., 2021: the last]"""
    neighbours: Count = 10
    """k, the number of nearest neighbours that vote. [memloc; Baldock et al., 2021: 30]"""
    support: Count = 5000
    """The number of training examples, drawn by data_seed, of which the probes are made; all if there are fewer. [memloc]"""


class ResolvedDepth(DepthConfig):
    """A resolved `DepthConfig`: the epochs are known."""

    epochs: Epochs


class Depth(Stage[ResolvedDepth]):
    """Prediction depth (Baldock et al. 2021), and what subspaces of activations know (MASC, Ketha & Ramaswamy)."""

    name: ClassVar[str] = "depth"
    forward_only: ClassVar[bool] = True
    footprint: ClassVar[Literal["less", "as much", "more"]] = "as much"
    version: ClassVar[int] = 1
    extent: ClassVar[tuple[str, ...]] = ("epochs",)
    usual: ClassVar[Mapping[str, Any]] = {"neighbours": 10, "support": 5000}
    # What is resolved at the input or by the softmax alone is in no layer.
    atlas: ClassVar[tuple[str, ...]] = (
        f"""SELECT d.analysis, d.trial, 'depth' AS method, p.site AS layer, NULL AS unit, d.example,
                   CASE WHEN p.depth = d.depth THEN 1.0 ELSE 0.0 END AS score
            FROM depth AS d JOIN trials AS t ON t.trial = d.trial AND t.epochs = d.epoch
            JOIN probes AS p ON p.analysis = d.analysis AND p.epoch = d.epoch AND p.probe = 'knn'
            WHERE p.site NOT IN ('{INPUT}', '{SOFTMAX}')""",
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "depth": of_analysis(
            ("epoch", SMALL), ("example", INT), ("depth", SMALL), ("agreement", FLOAT), ("input_agreement", FLOAT)
        ),
        "probes": of_analysis(
            ("epoch", SMALL),
            ("depth", SMALL),
            ("site", TEXT),
            ("probe", TEXT),
            ("dim", FLOAT),
            *ACCURACIES[:2],
            ("noisy_true_acc", FLOAT),
            ACCURACIES[2],
        ),
    }
    config = DepthConfig

    def resolve(self, config: DepthConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedDepth:
        epochs = config.epochs or (train.epochs,)
        check_epochs("epochs", epochs, train)
        return resolve_mask_mode(config, train).resolved_as(ResolvedDepth, epochs=epochs)

    def parts(self, config: ResolvedDepth, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": t} for t in config.epochs]

    def epochs(self, config: ResolvedDepth, train: TrainConfig, part: Part) -> Sequence[int]:
        return [int(part["epoch"])]

    def keeps(self, config: ResolvedDepth) -> Sequence[int]:
        return config.epochs

    def passes(self, config: ResolvedDepth, size: Size) -> float:
        # Products with the support, its own among them, take about as long as a pass for every 60 of the support.
        support = min(config.support, size.n)
        return (size.n + size.n_test + support) * (2 + support / 60)

    def rows(self, config: ResolvedDepth, size: Size) -> Mapping[str, int]:
        return {"depth": size.n, "probes": 2 * (len(size.groups) + 1)}


STAGE = Depth()
