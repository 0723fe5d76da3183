"""The result of reading a sweep: trainings, each with the analyses that it needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from memloc.config import StageConfig, TrainConfig
from memloc.config.retention import Retention
from memloc.own_code import OwnCode


@dataclass(frozen=True)
class Request:
    """One analysis that a block asks of its trainings."""

    stage: str
    config: StageConfig
    block: str
    where: str  # file:line:field of the stage, for errors that are found later


@dataclass
class Entry:
    """One training and the analyses that all blocks ask of it."""

    config: TrainConfig
    requests: list[Request] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)  # file:line:field of every training field that was given
    checkpoints: list[Retention] = field(default_factory=list)  # of each block

    def place(self, name: str) -> str:
        """Where a training field was given: file:line:field."""
        return self.where.get(name) or f"{self.where['']}.{name}"


@dataclass(frozen=True)
class Sweep:
    """folder: the folder of its file, where other sweeps that it needs may lie too. plugins: the user's files that it names.
    own_files: the files of the user's that it needs besides its own.
    """

    name: str
    about: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    plugins: tuple[OwnCode, ...] = ()
    own_files: tuple[str, ...] = ()
