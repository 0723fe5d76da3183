"""What networks know of examples they did not see (science.md, Atypical examples; paper §7): the runs behind C-scores.

A block with this stage trains on parts of its data set: for each of `ratios` as many trainings as it takes for every example
to be held out `min_held_out` times. The table c_scores is made of all of them together (store/c_scores.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import Count, FieldError, StageConfig, TrainConfig, as_tuple, distinct
from memloc.data.held_out import cuts_needed
from memloc.models.inference import logits
from memloc.stages.base import Inputs, Part, Size, Stage, Tables

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class HeldOutConfig(StageConfig):
    """ratios: which shares of the data set are trained on. min_held_out: how often, per ratio, every example is not."""

    ratios: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
        AfterValidator(distinct),
        AfterValidator(lambda ratios: tuple(sorted(ratios))),
    ] = RATIOS
    min_held_out: Count = 20


class HeldOut(Stage[HeldOutConfig]):
    name: ClassVar[str] = "held_out"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("held_out",)
    config = HeldOutConfig

    def resolve(self, config: HeldOutConfig, train: TrainConfig, beside: Collection[str] = ()) -> HeldOutConfig:
        return config

    def trainings(self, config: HeldOutConfig, train: TrainConfig, n: Callable[[], int]) -> Sequence[TrainConfig]:
        """One training per ratio and cut, with a seed of its own: that of the block and the number of the cut."""
        if train.held_out:
            raise FieldError("ratios", "the block gives a ratio itself; the stage held_out takes it from its ratios")
        return [
            train.model_copy(update={"held_out": kinds.HeldOut(ratio=ratio, cut=cut), "seed": train.seed + cut})
            for ratio in config.ratios
            for cut in range(cuts_needed(n(), ratio, config.min_held_out))
        ]

    def parts(self, config: HeldOutConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: HeldOutConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [train.epochs]

    def passes(self, config: HeldOutConfig, size: Size) -> float:
        return float(size.n + size.n_out)

    def rows(self, config: HeldOutConfig, size: Size) -> Mapping[str, int]:
        return {"held_out": size.n + size.n_out}

    def run(self, config: HeldOutConfig, inputs: Inputs, part: Part) -> Tables:
        """One row per example of the data set: was it trained on (`held_in`), and is the last network right about it?

        Evaluation mode, against the label trained on (for those held out: that it would have been). Masks are those under
        which test accuracy is measured: nobody has masks of its own among the examples held out.
        """
        data, network = inputs.data, inputs.network(inputs.train.epochs)
        assert data.held_out is not None, "trainings of this stage have a ratio"
        dropout = inputs.dropout(network)
        mode = "scaled" if inputs.train.example_tied else "plain"
        correct = []
        for x, y in ((inputs.on_device.x, data.y), (torch.tensor(data.held_out.x, device=inputs.device), data.held_out.y)):
            z = logits(network, x, lambda rows: dropout.evaluation(mode))
            correct.append(z.argmax(dim=1).cpu().numpy() == y)
        example = np.concatenate([data.example, data.held_out.example])
        held_in = np.arange(len(example)) < len(data.example)
        order = np.argsort(example)
        columns = {"example": example, "held_in": held_in, "correct": np.concatenate(correct)}
        return {"held_out": {name: values[order] for name, values in columns.items()}}
