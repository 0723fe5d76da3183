"""A plan: the trainings and analyses of a sweep, each with its id. A plan needs the descriptions of the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from memloc.config import StageConfig, TrainConfig, canonical, canonical_json, digest
from memloc.config.retention import Retention
from memloc.data.c_score_file import CScores
from memloc.own_code import OwnCode
from memloc.run.score_sources import Need
from memloc.stages import stages_with
from memloc.stages.base import Part, Size, Stage


class Parts(tuple[Part, ...]):
    """The parts of an analysis. Analyses of equal settings share one, in however many trainings."""

    @cached_property
    def texts(self) -> list[str]:
        """The canonical JSON of each."""
        return [canonical_json(part) for part in self]


@dataclass(frozen=True)
class AnalysisPlan:
    """One analysis: its id, resolved configuration, and parts.

    size: that of its training, with the analysis's own S_n. reads: ids of the analyses that it reads. c_scores: the C-scores
    that it takes; `config` has their hash. plugins: the user's files that have its stage or its scores.
    """

    id: str
    stage: str
    config: StageConfig
    parts: Parts
    size: Size
    reads: tuple[str, ...] = ()
    c_scores: CScores | None = field(default=None, compare=False, repr=False)
    plugins: tuple[OwnCode, ...] = field(default=(), repr=False)

    @property
    def kind(self) -> Stage[Any]:
        """The stage: its fields, its parts and its computation."""
        return stages_with(self.plugins)[self.stage]

    @property
    def part_ids(self) -> list[str]:
        """The ids of its parts, each fingerprint({"analysis": id, "part": part})."""
        return [digest(f'{{"analysis":"{self.id}","part":{text}}}') for text in self.parts.texts]


@dataclass(frozen=True)
class Unmet:
    """An analysis that cannot be planned yet: something is missing."""

    block: str
    stage: str
    need: Need

    def as_json(self) -> dict[str, str]:
        """The unmet need for `--json`."""
        return {"block": self.block, "stage": self.stage, "needs": self.need.what, "remedy": self.need.remedy}


@dataclass(frozen=True)
class TrialPlan:
    """One training and its analyses. The training's part id is the trial's id.

    unmet: analyses that wait for something. checkpoints: which ones stay, as its blocks choose. recompute: stages (`train`
    too) that compute activations again in the backward pass, for the memory of the GPU. graphed: whether training steps are
    replayed from CUDA graphs. No result depends on these two (run/execution.py).
    """

    id: str
    config: TrainConfig
    data: str  # identity of the data set
    size: Size
    blocks: tuple[str, ...]
    analyses: tuple[AnalysisPlan, ...]
    unmet: tuple[Unmet, ...] = ()
    checkpoints: Retention = None
    recompute: frozenset[str] = field(default=frozenset(), compare=False)
    graphed: bool = field(default=False, compare=False)

    def epochs_read(self) -> set[int]:
        """The checkpoints that the analyses read."""
        return {t for a in self.analyses for p in a.parts for t in a.kind.epochs(a.config, self.config, p)}

    @property
    def part_ids(self) -> list[str]:
        """The ids of the training and of all parts of its analyses."""
        return [self.id, *(i for a in self.analyses for i in a.part_ids)]


@dataclass(frozen=True)
class Plan:
    """What a sweep would do: its trials, and the notes for the person who launches it.

    own_files: the files of the user's that the sweep file names.
    """

    name: str
    trials: tuple[TrialPlan, ...]
    notes: tuple[str, ...] = ()
    own_files: tuple[str, ...] = ()

    @property
    def unmet(self) -> list[Unmet]:
        """What is missing, each once, in plan order."""
        return list(dict.fromkeys(u for trial in self.trials for u in trial.unmet))

    def needs(self) -> list[str]:
        """What is missing, in words: a line for each block and thing that it needs."""
        stages: dict[tuple[str, Need], list[str]] = {}
        for unmet in self.unmet:
            stages.setdefault((unmet.block, unmet.need), []).append(unmet.stage)
        return [
            f"block {block} ({', '.join(names)}) needs: {need.what}; {need.remedy}"
            for (block, need), names in stages.items()
        ]

    def record(self) -> list[dict[str, Any]]:
        """The trials as the store's sweep record holds them."""
        return [
            {
                "trial": t.id,
                "config": canonical(t.config),
                "blocks": list(t.blocks),
                "analyses": [
                    {"analysis": a.id, "stage": a.stage, "config": canonical(a.config), "parts": a.part_ids}
                    for a in t.analyses
                ],
            }
            | ({"waiting": [{"block": u.block, "stage": u.stage} for u in t.unmet]} if t.unmet else {})
            for t in self.trials
        ]
