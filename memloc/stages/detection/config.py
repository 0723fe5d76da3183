"""Detection: which scores, and the tables of its rows (science.md, Detection scores; paper §6.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self, get_args

import pyarrow as pa
from pydantic import AfterValidator, BeforeValidator, Field

from memloc.config import FieldError, PathOrSweep, StageConfig, TrainConfig, UnusedFieldError, Valid, as_tuple, distinct
from memloc.stages.base import Part, Size, Stage
from memloc.stages.columns import FLOAT, INT, TEXT, of_analysis

Score = Literal["flips", "learning_time", "forgetting", "second_split", "aum", "el2n", "loss", "probability", "c_score"]
SCORES: tuple[Score, ...] = get_args(Score)
# Scores that another stage computes. They need that stage in the same block.
FROM_STAGE: tuple[Score, ...] = ("flips", "second_split")


class DetectionConfig(StageConfig):
    """Which scores are compared.

    In a resolved configuration the hash of the scores stands in place of NAME or PATH.
    """

    scores: Annotated[tuple[Score, ...], BeforeValidator(as_tuple), Field(min_length=1), AfterValidator(distinct)] | None = (
        None
    )
    """The scores that are compared (docs/definitions.md); null: all that have data. flips and second_split need the stage
    of that name in the same block. [flips, learning_time, second_split: paper §6.1; the others: memloc]
    """
    c_score: Annotated[str, Field(min_length=1), Valid("sweep:NAME, a path"), PathOrSweep()] | None = None
    """The C-scores to compare with. sweep:NAME: those that the sweep NAME estimated on these labels. A path: those of a
    file; they judge the original labels, so the score c_score is NULL. [memloc]
    """

    def c_scores_from(self) -> str | None:
        return self.c_score

    def with_c_scores(self, identity: str) -> Self:
        kind = "sweep" if (self.c_score or "").startswith("sweep:") else "file"
        return self.model_copy(update={"c_score": f"{kind}:{identity}"})


class ResolvedDetection(DetectionConfig):
    """A resolved `DetectionConfig`: the scores are those that have data, in the order of `SCORES`."""

    scores: tuple[Score, ...]


class Detection(Stage[ResolvedDetection]):
    """How well each score tells the mislabeled examples from the others (science.md, Detection scores; paper §6.1)."""

    name: ClassVar[str] = "detection"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "detection": of_analysis(
            ("score", TEXT),
            ("sample", TEXT),
            ("auc", FLOAT),
            ("auc_lo", FLOAT),
            ("auc_hi", FLOAT),
            ("ap", FLOAT),
            ("precision", FLOAT),
            ("miss_rate", FLOAT),
            ("n", INT),
        ),
        "detection_pairs": of_analysis(
            ("score", TEXT),
            ("other", TEXT),
            ("sample", TEXT),
            ("auc_diff", FLOAT),
            ("lo", FLOAT),
            ("hi", FLOAT),
            ("p", FLOAT),
        ),
    }
    reads: ClassVar[tuple[str, ...]] = FROM_STAGE
    config = DetectionConfig

    def resolve(self, config: DetectionConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedDetection:
        absent = [s for s in FROM_STAGE if s not in beside]
        for score in absent:
            if score in (config.scores or ()):
                raise FieldError("scores", f"{score} needs that stage; add `{score}: {{}}` to the stages of this block")
        if config.c_score is None and "c_score" in (config.scores or ()):
            raise FieldError("scores", "c_score needs to know whose; add `c_score: sweep:NAME` to this stage")
        if config.c_score is not None and config.scores is not None and "c_score" not in config.scores:
            raise UnusedFieldError("c_score", "used only with the score c_score; add it to scores")
        available = [s for s in SCORES if s not in absent and (s != "c_score" or config.c_score is not None)]
        return config.resolved_as(ResolvedDetection, scores=tuple(s for s in available if s in (config.scores or available)))

    def parts(self, config: ResolvedDetection, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: ResolvedDetection, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def passes(self, config: ResolvedDetection, size: Size) -> float:
        return 0.0

    def rows(self, config: ResolvedDetection, size: Size) -> Mapping[str, int]:
        scores = config.scores
        k = [len([s for s in scores if s != "flips"]), len(scores) if "flips" in scores else 0]
        return {"detection": sum(k), "detection_pairs": sum(n * (n - 1) // 2 for n in k)}


STAGE = Detection()
