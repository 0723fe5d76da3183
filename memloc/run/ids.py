"""The ids of trainings and parts: each is the fingerprint of what it stands for (docs/architecture.md).

That of an analysis is in config/analysis_ids.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from memloc.config import TrainConfig, canonical, canonical_json, fingerprint
from memloc.config.analysis_ids import Said, codes_of, versions_of
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.store import Commit


def training_id(config: TrainConfig, data: str, version: int) -> str:
    """The id of a training. data: the identity of its data; version: of the code of trainings.

    The data's name, their path and how they are read do not enter it, nor do the paths of a network's file and of given
    checkpoints.
    """
    placeless = {**dict.fromkeys(config.source.flat()), "given_from": None, **config.architecture.identity()}
    identity = {**canonical(config), **placeless}
    return fingerprint({"stage": "train", "version": version, "config": identity, "data": data})


def part_id(analysis: str, part: Mapping[str, Any]) -> str:
    """The id of a part of an analysis."""
    return fingerprint({"analysis": analysis, "part": dict(part)})


def check(training: Commit, parts: Sequence[Commit]) -> None:
    """Checks that the ids of a training, and of the parts of its analyses, are those of what their commits say.

    Raises:
        UsageError: they are not, or this version cannot resolve the training's configuration.
    """
    version, data = training.part.get("version"), str(training.part.get("data"))
    config = resolved(**training.config)
    if not isinstance(version, int) or training_id(config, data, version) != training.id:
        raise UsageError(f"trial {training.id}: is not the id of the configuration and the data that its commit names")
    for analysis, c in {commit.analysis: commit for commit in parts}.items():
        said = Said(c.trial, c.stage, canonical_json(c.config), c.reads, codes_of(c.where))
        if analysis is not None and None in versions_of({analysis: said}):
            raise UsageError(f"analysis {analysis}: is not the id of the {c.stage} that its commits name")
    for commit in parts:
        if part_id(str(commit.analysis), commit.part) != commit.id:
            raise UsageError(f"part {commit.id}: is not the id of the part of {commit.stage} that its commit names")
