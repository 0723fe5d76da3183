"""The ids of trainings, analyses and parts: each is the fingerprint of what it stands for (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memloc.config import StageConfig, TrainConfig, canonical, fingerprint
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.store import Commit

VERSIONS = 100  # of a stage, at most: a commit does not say which it is of


def training_id(config: TrainConfig, data: str, version: int) -> str:
    """The id of a training. data: the identity of its data; version: of the code of trainings.

    The data's name, their path and how they are read do not enter it, nor do the paths of a network's file and of given
    checkpoints.
    """
    placeless = {**dict.fromkeys(config.source.flat()), "given_from": None, **config.architecture.identity()}
    identity = {**canonical(config), **placeless}
    return fingerprint({"stage": "train", "version": version, "config": identity, "data": data})


def analysis_id(
    trial: str, stage: str, config: StageConfig | Mapping[str, Any], reads: Iterable[str], version: int, codes: Iterable[str]
) -> str:
    """The id of an analysis. reads: the analyses that it reads. version: of the stage; codes: hashes of the user's files."""
    shas = sorted(codes)
    versions = [version, *shas] if shas else version
    return fingerprint({"trial": trial, "stage": stage, "version": versions, "config": config, "reads": list(reads)})


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
    for analysis, commits in {commit.analysis: commit for commit in parts}.items():
        if analysis is not None and not _is_of(analysis, commits):
            raise UsageError(f"analysis {analysis}: is not the id of the {commits.stage} that its commits name")
    for commit in parts:
        if part_id(str(commit.analysis), commit.part) != commit.id:
            raise UsageError(f"part {commit.id}: is not the id of the part of {commit.stage} that its commit names")


def _is_of(analysis: str, commit: Commit) -> bool:
    plugins = commit.where.get("plugins")
    codes = [str(sha) for sha in plugins.values()] if isinstance(plugins, Mapping) else []
    of = commit.trial, commit.stage, commit.config, commit.reads
    return any(analysis_id(*of, version, codes) == analysis for version in range(1, VERSIONS))
