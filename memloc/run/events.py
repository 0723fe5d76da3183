"""What happens while a plan is carried out, for whoever shows it. Executors emit, commands render."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Kind = Literal["started", "placed", "epoch", "trained", "part", "failed", "finished", "drained"]


@dataclass(frozen=True)
class Event:
    """One step of one trial.

    started, finished, drained: of the trial. placed: its training has a place on `host`, where its process starts. epoch:
    the training is at `epoch`; the first one is where it begins or goes on, every other has ended after `seconds` with
    these `metrics` (loss and accuracies as in table `epochs`). trained: its commit is there. part: a part of `stage` was
    committed after `seconds`; it paid this `share` of its price alone. failed: `part_id` failed for good, with the error's
    last line.
    """

    kind: Kind
    trial: str
    stage: str = ""
    epoch: int = 0
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    part_id: str = ""
    seconds: float = 0.0
    share: float = 1.0
    error: str = ""
    host: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Listener: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended. finished: its commit is there. error: as of a part. Neither: it was told to stop."""

    finished: bool
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class PartResult:
    """How one part ended.

    seconds: that it took; 0 where it was committed already. share: of what it costs alone, the share that it paid, the rest
    being shared with other parts. error: the last line of what made it fail for good, else empty.
    """

    part_id: str
    seconds: float = 0.0
    share: float = 1.0
    error: str = ""


@dataclass
class Outcome:
    """How a launch ended: parts that failed for good as {part id: last line of the error}."""

    failures: dict[str, str]
    interrupted: bool = False
