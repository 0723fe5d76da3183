"""The runs behind C-scores: which trainings they take, what they cost, and the table of their rows (paper §7)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import INT32, SEEDS, Count, FieldError, StageConfig, TrainConfig, as_tuple, distinct
from memloc.config import HeldOut as HeldOutExamples
from memloc.data.cuts import cuts_needed
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import BOOL, FLOAT, INT, SMALL, of_analysis

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class HeldOutConfig(StageConfig):
    """Which trainings stand behind C-scores."""

    ratios: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        BeforeValidator(as_tuple),
        Field(min_length=1),
        AfterValidator(distinct),
        AfterValidator(lambda ratios: tuple(sorted(ratios))),
    ] = RATIOS
    """The shares of the data set that are trained on. Each share has its own set of trainings. [Jiang et al., 2021 (paper
    §7)]
    """
    min_held_out: Count = 20
    """The number of times, at least, that every example is held out per ratio. [memloc]"""


class HeldOut(Stage[HeldOutConfig]):
    """Trainings on parts of the data set, from which C-scores follow (science.md, Atypical examples; paper §7)."""

    name: ClassVar[str] = "held_out"
    forward_only: ClassVar[bool] = True
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "held_out": of_analysis(
            ("example", INT),
            ("held_in", BOOL),
            ("label", SMALL),
            ("noisy", BOOL),
            ("correct", BOOL),
            ("prob", FLOAT),
            ("alternative", SMALL),
            ("alternative_prob", FLOAT),
        )
    }
    config = HeldOutConfig

    def resolve(self, config: HeldOutConfig, train: TrainConfig, beside: Collection[str] = ()) -> HeldOutConfig:
        return config

    def trainings(self, config: HeldOutConfig, train: TrainConfig, n: Callable[[], int]) -> Iterator[TrainConfig]:
        """One training per ratio and cut. Its seed is that of the block plus the number of the cut."""
        if train.held_out:
            raise FieldError("ratios", "the block gives a ratio itself; the stage held_out takes it from its ratios")
        cuts = {ratio: cuts_needed(n(), ratio, config.min_held_out) for ratio in config.ratios}
        most = max(cuts.values())
        if most > INT32:
            problem = f"{config.min_held_out} needs {most} trainings of one ratio; a table counts no more than {INT32}"
            raise FieldError("min_held_out", problem)
        if train.seed + most > SEEDS:
            problem = f"its {most} cuts have the seeds from {train.seed} on; valid: a seed of at most {SEEDS - most}"
            raise FieldError("min_held_out", problem)
        return _trainings(train, cuts)

    def parts(self, config: HeldOutConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: HeldOutConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return [train.epochs]

    def passes(self, config: HeldOutConfig, size: Size) -> float:
        return float(size.n + size.n_out)

    def rows(self, config: HeldOutConfig, size: Size) -> Mapping[str, int]:
        return {"held_out": size.n + size.n_out}


def _trainings(train: TrainConfig, cuts: Mapping[float, int]) -> Iterator[TrainConfig]:
    """The trainings one by one: there may be a billion. cuts: {ratio: number of cuts}."""
    for ratio, count in cuts.items():
        for cut in range(count):
            yield train.model_copy(update={"held_out": HeldOutExamples(ratio=ratio, cut=cut), "seed": train.seed + cut})


STAGE = HeldOut()
