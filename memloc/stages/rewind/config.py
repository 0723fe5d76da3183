"""Layer rewinding: which epochs, what it costs, and the table of its rows (science.md, Layer rewinding; paper §5.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa

from memloc.config import Epochs, FieldError, TrainConfig
from memloc.stages.base import NetworkFacts, Part, Size, Stage
from memloc.stages.columns import ACCURACIES, FLOAT, SMALL, TEXT, of_analysis
from memloc.stages.fields import MaskedConfig, check_epochs, resolve_sets


class RewindConfig(MaskedConfig):
    """The states to which a layer is rewound."""

    epochs: Epochs | None = None
    """The epochs to which a layer is rewound; null: 0, 10, … and T. [paper §5.1, Figure 3]"""
    buffers: Literal["final", "rewound", "recomputed"] = "final"
    """The running statistics: final keeps those of epoch T, rewound takes those of the earlier epoch for the layer,
    recomputed measures those of all batch norms anew, over the training images, for each rewound network. [paper: not said]
    """


class ResolvedRewind(RewindConfig):
    """A resolved `RewindConfig`: the epochs are known."""

    epochs: Epochs


class Rewind(Stage[ResolvedRewind]):
    """Accuracies after each layer group goes back to an earlier epoch (paper §5.1, Figures 3 and 15–17)."""

    name: ClassVar[str] = "rewind"
    forward_only: ClassVar[bool] = True
    version: ClassVar[int] = 3
    extent: ClassVar[tuple[str, ...]] = ("epochs",)
    usual: ClassVar[Mapping[str, Any]] = {"buffers": "final"}
    atlas: ClassVar[tuple[str, ...]] = (
        """SELECT analysis, trial, 'rewinding' AS method, layer, NULL AS unit, NULL AS example,
                  1 - fsum(rewind.noisy_acc ORDER BY rewind.noisy_acc) / count(*) AS score
           FROM rewind JOIN trials USING (trial) WHERE epoch < epochs AND rewind.noisy_acc IS NOT NULL GROUP BY ALL""",
    )
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "rewind": of_analysis(("layer", TEXT), ("epoch", SMALL), *ACCURACIES, ("clean_loss", FLOAT), ("noisy_loss", FLOAT))
    }
    lockstep: ClassVar[bool] = True
    config = RewindConfig

    def resolve(self, config: RewindConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedRewind:
        usual = tuple(sorted({*range(0, train.epochs + 1, 10), train.epochs}))
        epochs = config.epochs or (usual if train.given_epochs is None else train.checkpoint_epochs)
        check_epochs("epochs", epochs, train)
        return resolve_sets(config, train).resolved_as(ResolvedRewind, epochs=epochs)

    def parts(self, config: ResolvedRewind, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"epoch": t} for t in config.epochs]

    def epochs(self, config: ResolvedRewind, train: TrainConfig, part: Part) -> Sequence[int]:
        return [int(part["epoch"]), train.epochs]

    def keeps(self, config: ResolvedRewind) -> Sequence[int]:
        return config.epochs

    def misfit(self, config: ResolvedRewind, train: TrainConfig, size: Size, network: NetworkFacts) -> FieldError | None:
        if config.buffers == "recomputed" and not network.running_statistics:
            return FieldError("buffers", "recomputed: the network has no batch norms; valid: final, rewound")
        return None

    def fits(self, train: TrainConfig, network: NetworkFacts) -> Mapping[str, str | None]:
        return {"": None, "buffers: recomputed": None if network.running_statistics else "it has no batch norms"}

    def passes(self, config: ResolvedRewind, size: Size) -> float:
        if config.buffers == "recomputed":  # each group alone: once for the statistics, and once to judge
            return len(size.groups) * (2 * size.n + size.n_test)
        # One whole pass, and on average about half of the network for every group.
        return (1 + len(size.groups) / 2) * (size.n + size.n_test)

    def memory(self, config: ResolvedRewind, size: Size) -> int:
        # A network, or two and two folded ones; its logits with every group rewound, in chunks, joined, and joined with the
        # others'.
        networks = 5 if config.buffers == "recomputed" else 1
        return 4 * (networks * size.parameters + 3 * len(size.groups) * max(size.n, size.n_test) * size.classes)

    def shared(self, config: ResolvedRewind, size: Size) -> float:
        return 0.0 if config.buffers == "recomputed" else 1 / (1 + len(size.groups) / 2)  # the one whole pass

    def rows(self, config: ResolvedRewind, size: Size) -> Mapping[str, int]:
        return {"rewind": len(size.groups)}


STAGE = Rewind()
