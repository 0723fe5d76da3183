"""The events of a run. Executors emit them, and commands show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Literal, TypeAlias

Kind = Literal[
    "started",
    "placed",
    "epoch",
    "trained",
    "part",
    "failed",
    "again",
    "needs",
    "waiting",
    "gave_up",
    "card",
    "no_card",
    "elsewhere",
    "finished",
    "unfinished",
]


class Room(IntEnum):
    """What a training or a part may have of a device; each time that memory runs out, it gets more.

    SHARE: its share, as the launch says. CARD: a whole card, in line behind what holds it. MOST: the same, and activations
    are computed again in the backward pass, so that fewer are kept. If memory runs out then, it has failed.
    """

    SHARE = 0
    CARD = 1
    MOST = 2


@dataclass(frozen=True)
class Event:
    """One step of one trial.

    started: the trial has. finished: it has ended, and everything of it is committed. unfinished: it has ended, and a part
    of it is not committed, since that part failed or was told to stop. placed: the training has a place on `host`, where its
    process starts; or the first parts of `stage` are asked for. epoch: the training is at `epoch`. The first such event says
    where it begins or goes on. Every other one says that the epoch has ended after `seconds` with these `metrics` (loss and
    accuracies as in table `epochs`). trained: the training's commit is there. part: a part of `stage` was committed after
    `seconds`; it paid only this `share` of its price. It is `not_run` if `stop` has ended its training before. failed:
    `part_id` failed for good, with the error in one line. again: memory of its device ran out under `part_id`, so it is in
    line for more of it; `error` says it in one line.
    needs: the training or parts of `stage` wait for a kind of device, as `error` says; with an empty `error` no more.
    waiting: a process of the trial waits for the storage, whose fault is `error`; with an empty `error` none waits any more.
    Without a trial it is the driver that waits.
    elsewhere: another driver is at work on the trial, on `host`, so nothing of it is done here for now.
    card: a card takes no more work in this run, as `error` says; the trial is whichever has heard of it. no_card: no card is
    left that computes, as `error` says.
    gave_up: the storage failed with `error` for longer than the launch has patience. Nothing is wrong with the trial.
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
    not_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The event as keyword arguments of `Event`, for another process."""
        return asdict(self)


Listener: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended. finished: its commit is there. error, storage, memory, needs: as in PartResult. None of these:
    it was told to stop. kind: of the device with which it is committed, if parts go on with it. refused: it has not
    begun, because its card gets no work.
    """

    finished: bool
    seconds: float = 0.0
    error: str = ""
    storage: str = ""
    memory: str = ""
    needs: str = ""
    kind: str = ""
    refused: bool = False


@dataclass(frozen=True)
class PartResult:
    """How one part ended.

    seconds: how long it took; 0 if it was already committed. share: the share of its price that it paid; the rest was shared
    with other parts. error: the error in one line if it failed for good, else empty. storage: the fault of the storage that
    ended it, in one line, else empty. memory: how the memory of its device ran out, if it may be tried with more. not_run:
    `stop` has ended its training before the checkpoints that it needs. needs: the kind of device to which it must go, since
    it must reach the same bits as its training; else empty.
    """

    part_id: str
    seconds: float = 0.0
    share: float = 1.0
    error: str = ""
    storage: str = ""
    memory: str = ""
    not_run: bool = False
    needs: str = ""


@dataclass
class Outcome:
    """How a launch ended. failed: the event of every part that failed for good. storage: the fault that ended it, or "".
    no_card: what is said if it ended because no card is left that computes, or "".

    elsewhere: the trials at which other drivers were found at work, in the last round.
    """

    failed: list[Event] = field(default_factory=list)
    interrupted: bool = False
    storage: str = ""
    no_card: str = ""
    elsewhere: set[str] = field(default_factory=set)

    @property
    def failures(self) -> dict[str, str]:
        """{part id: the error in one line} of the parts that failed for good."""
        return {event.part_id: event.error for event in self.failed}
