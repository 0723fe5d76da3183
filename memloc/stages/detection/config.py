"""Detection: which scores, and the tables of its rows (science.md, Detection scores; paper §6.1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pyarrow as pa
from pydantic import Field

from memloc.config import FieldError, PathOrSweep, StageConfig, TrainConfig, UnusedFieldError, Valid
from memloc.stages.base import Part, Size, Tables
from memloc.stages.columns import FLOAT, INT, TEXT, of_analysis
from memloc.stages.detection.scores import SCORES
from memloc.stages.extensible import Extensible, names_of
from memloc.stages.score import Score, of_stages
from memloc.stages.training.schema import TABLES as TRAINING_TABLES

if TYPE_CHECKING:
    from memloc.stages.inputs import Inputs

EVERY = (*SCORES, *(score for score in of_stages() if score not in SCORES))  # memloc's own
# Scores that another stage computes. They need that stage in the same block.
FROM_STAGE = tuple(score.name for score in EVERY if score.stage)
# Columns of the view `leaderboard` that no score may be named like.
COLUMNS = {*TRAINING_TABLES["examples"].names, "correct", "margin", "memorization"} - {score.name for score in EVERY}

_Scores = names_of([score.name for score in EVERY])


class DetectionConfig(StageConfig):
    """Which scores are compared.

    In a resolved configuration the hash of the scores stands in place of NAME or PATH.
    """

    scores: _Scores = None  # type: ignore[valid-type]
    """The scores that are compared (docs/definitions.md); null: all that have data. A score
    of another stage needs that stage in the same block. [flips, learning_time, second_split: paper §6.1; the others: memloc]
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
    """A resolved `DetectionConfig`: the scores are those that have data, in the order of `EVERY`, then the user's own."""

    scores: tuple[str, ...]


class Detection(Extensible[ResolvedDetection]):
    """How well each score tells the mislabeled examples from the others (science.md, Detection scores; paper §6.1)."""

    name: ClassVar[str] = "detection"
    version: ClassVar[int] = 2
    extent: ClassVar[tuple[str, ...]] = ("scores",)
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
        "scores": of_analysis(("score", TEXT), ("example", INT), ("value", FLOAT)),
    }
    takes, noun, listed, built_in, written = Score, "score", "scores", EVERY, DetectionConfig

    def __init__(self, own: Sequence[Score] = (), unasked: Sequence[Score] = ()) -> None:
        super().__init__(own, unasked)
        self.scores: tuple[Score, ...] = self.objects
        self.reads = tuple(dict.fromkeys(score.stage for score in self.scores if score.stage))

    def misnamed(self, name: str) -> str | None:
        return "a column of the leaderboard has this name" if name in COLUMNS else None

    def resolve(self, config: DetectionConfig, train: TrainConfig, beside: Collection[str] = ()) -> ResolvedDetection:
        asked: Collection[str] = config.scores or ()
        absent = {score.name: score.stage for score in self.scores if score.stage and score.stage not in beside}
        for score, stage in absent.items():
            if score in asked:
                which = "that stage" if stage == score else f"the stage {stage}"
                raise FieldError("scores", f"{score} needs {which}; add `{stage}: {{}}` to the stages of this block")
        if config.c_score is None and "c_score" in asked:
            raise FieldError("scores", "c_score needs to know whose; add `c_score: sweep:NAME` to this stage")
        if config.c_score is not None and config.scores is not None and "c_score" not in asked:
            raise UnusedFieldError("c_score", "used only with the score c_score; add it to scores")
        of_training = {score.name for score in self.scores if not score.stage} - {"c_score"}
        if train.given_from is not None:
            _check_given(of_training, asked, {s.name for s in self.scores if s.stage} - absent.keys())
            absent |= dict.fromkeys(of_training, "train")
        usual = {score.name for score in self.unasked} - absent.keys() - ({"c_score"} if config.c_score is None else set())
        compared = tuple(score.name for score in self.scores if score.name in (asked or usual))
        return config.resolved_as(ResolvedDetection, scores=compared)

    def run(self, config: ResolvedDetection, inputs: Inputs, part: Part) -> Tables:
        compute: Any = import_module("memloc.stages.detection.compute")
        tables: Tables = compute.run(config, inputs, self.scores)
        return tables

    @classmethod
    def looked_at(cls, config: Mapping[str, Any]) -> tuple[int, ...]:
        return (len(config.get("scores") or ()),)

    def parts(self, config: ResolvedDetection, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: ResolvedDetection, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def passes(self, config: ResolvedDetection, size: Size) -> float:
        return 0.0

    def rows(self, config: ResolvedDetection, size: Size) -> Mapping[str, int]:
        scores = config.scores
        k = [len([s for s in scores if s != "flips"]), len(scores) if "flips" in scores else 0]
        own = len(set(scores) - {score.name for score in SCORES})
        rows = {"detection": sum(k), "detection_pairs": sum(n * (n - 1) // 2 for n in k)}
        return rows | ({"scores": own * size.n} if own else {})


def _check_given(of_training: Collection[str], asked: Collection[str], possible: Collection[str]) -> None:
    """Raises FieldError for scores of the epochs, where the checkpoints are from elsewhere, and if no score is left."""
    why = "the epochs of the training, and these checkpoints are from elsewhere"
    if wrong := [name for name in asked if name in of_training]:
        raise FieldError(
            "scores", f"{wrong[0]} needs {why}; valid: scores of other stages, as flips, with `flips: {{}}` in this block"
        )
    if not possible and "c_score" not in asked:
        raise FieldError(
            "scores",
            f"every score of this block needs {why}; add a stage with scores of its own, as `flips: {{}}` or `depth: {{}}`",
        )


STAGE = Detection()
