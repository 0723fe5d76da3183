"""What a sweep comes to: trainings, each with the analyses that are asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from memloc.config import StageConfig, TrainConfig


@dataclass(frozen=True)
class Request:
    """One analysis that a block asks of its trainings."""

    stage: str
    config: StageConfig
    block: str
    where: str  # file:line:field of the stage, for errors that are found later


@dataclass
class Entry:
    """One training and everything asked of it, whichever blocks asked."""

    config: TrainConfig
    requests: list[Request] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)  # file:line:field of every training field that was given

    def place(self, name: str) -> str:
        """Where a training field was given: file:line:field."""
        return self.where.get(name) or f"{self.where['']}.{name}"


@dataclass(frozen=True)
class Sweep:
    """folder: where its file is; other sweeps that it needs may be there too."""

    name: str
    about: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    folder: Path | None = None
