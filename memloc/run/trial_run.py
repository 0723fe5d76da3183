"""The course of one trial: what may run next, what has ended, and what is left after an order to stop.

Every executor drives the same class. No Ray, no torch and no clock here: coordinators import it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from memloc.errors import StorageError
from memloc.run.events import Event, Listener, PartResult, Room, TrainingResult
from memloc.run.fanout import PricedPart

Phase = Literal["train", "analyse", "ended"]
Task: TypeAlias = list[PricedPart]  # parts that one process computes


@dataclass(frozen=True)
class TrialSteps:
    """The work of a trial: train, then compute its parts, wave by wave, then remove checkpoints."""

    trial: str
    trains: bool
    waves: tuple[tuple[PricedPart, ...], ...]
    prunes: bool


class TrialRun:
    """A trial under way. An executor takes the tasks that may run, and reports what has ended.

    phase: `train` until the training has ended, `analyse` while parts are left. failed: the ids of parts that failed for
    good. cut: makes tasks of the parts of a wave. prune: removes checkpoints by retention. tell: gets the events. elsewhere:
    the host of another driver that is at work on the trial, so that nothing is done; "" if there is none.
    """

    def __init__(
        self,
        steps: TrialSteps,
        cut: Callable[[Sequence[PricedPart]], list[Task]],
        prune: Callable[[], None],
        tell: Listener,
        elsewhere: str = "",
    ) -> None:
        self.steps, self._cut, self._prune, self._tell = steps, cut, prune, tell
        self.phase: Phase = "train" if steps.trains else "analyse"
        self.failed: set[str] = set()
        self._waves = deque(steps.waves)
        self._queue: deque[Task] = deque()
        self._running = 0
        self._rooms: dict[str, Room] = {}  # of the parts under which memory ran out, and of the training
        self._placed: set[str] = set()  # stages of which a task runs or has run
        self._draining = self._gave_up = False
        if elsewhere:
            self.phase = "ended"
            self._emit("elsewhere", host=elsewhere)
        else:
            self._emit("started")
            self._advance()

    @property
    def queued(self) -> int:
        """How many tasks may begin now."""
        return 0 if self._draining else len(self._queue)

    def take(self) -> Task:
        """The next task, which now runs."""
        self._running += 1
        task = self._queue.popleft()
        if stage := next((part.stage for part in task if part.stage not in self._placed), ""):
            self._placed |= {part.stage for part in task}
            self._emit("placed", stage=stage)
        return task

    def room(self, *part_ids: str) -> Room:
        """What these parts may have of a device. The training's part id is the trial's id."""
        return max(self._rooms.get(part_id, Room.SHARE) for part_id in part_ids)

    def drain(self) -> None:
        """Nothing more begins. The trial ends when its running tasks end."""
        self._draining = True
        self._advance()

    # --- the training

    def placed(self, host: str) -> None:
        """The training has a place on this host."""
        self._emit("placed", stage="train", host=host)

    def reached(self, epoch: int, row: Mapping[str, Any]) -> None:
        """The training has reached an epoch. row: that of table `epochs`; empty if the training begins or goes on there."""
        metrics = {name: row[name] for name in ("loss", "clean_acc", "noisy_acc", "test_acc") if name in row}
        self._emit("epoch", stage="train", epoch=epoch, metrics=metrics, seconds=row.get("seconds", 0.0))

    def training_again(self, result: TrainingResult) -> None:
        """Memory ran out under the training. It begins again with more room, where it had come to."""
        self._more_room(self.steps.trial, "train", result.memory)

    def training_ended(self, result: TrainingResult) -> None:
        """The training has ended: it is committed, has failed, or was told to stop."""
        if result.error:
            self._fail(self.steps.trial, "train", result.error)
        if result.storage:
            self._give_up(result.storage)
        if not result.finished:
            return self._end("unfinished")
        self._emit("trained", stage="train", seconds=result.seconds)
        self.phase = "analyse"
        return self._advance()

    # --- the parts

    def part_ended(self, stage: str, result: PartResult) -> None:
        """A part of a running task has ended."""
        if result.storage:
            self._give_up(result.storage)
        elif result.error:
            self._fail(result.part_id, stage, result.error)
        else:
            ended = {"seconds": result.seconds, "share": result.share, "not_run": result.not_run}
            self._emit("part", stage=stage, part_id=result.part_id, **ended)

    def part_again(self, part: PricedPart, result: PartResult) -> None:
        """Memory ran out under a part of a running task, though it was alone. It becomes a task with more room."""
        self._more_room(part.id, part.stage, result.memory)
        self._queue.append([part])

    def needs(self, stage: str, says: str) -> None:
        """The training or the parts of a stage wait for a kind of device; says: "" if no more."""
        self._emit("needs", stage=stage, error=says)

    def task_ended(self, left: Task) -> None:
        """A task has ended. left: its parts that were not begun, because of the order to stop."""
        self._running -= 1
        if left:
            self._queue.append(left)
        self._advance()

    def _advance(self) -> None:
        """Begins the next wave if one is over, and ends the trial after the last wave."""
        if self.phase != "analyse" or self._running:
            return
        while self._waves and not self._queue and not self._draining:
            possible = [part for part in self._waves.popleft() if not self.failed & set(part.needs)]
            self._queue.extend(self._cut(possible) if possible else [])
        if self._draining and (self._queue or self._waves or self._gave_up):
            self._end("unfinished")
        elif not self._queue:
            self._remove_checkpoints()
            self._end("unfinished" if self.failed or self._gave_up else "finished")

    def _remove_checkpoints(self) -> None:
        if self.steps.prunes and not self.failed:
            try:
                self._prune()
            except StorageError as error:
                self._give_up(str(error))

    # --- events

    def _more_room(self, part_id: str, stage: str, error: str) -> None:
        self._rooms[part_id] = Room(self.room(part_id) + 1)
        self._emit("again", stage=stage, part_id=part_id, error=error)

    def _give_up(self, fault: str) -> None:
        """Nothing more begins: the storage has failed for too long."""
        self._draining = self._gave_up = True
        self._emit("gave_up", error=fault)

    def _fail(self, part_id: str, stage: str, error: str) -> None:
        self.failed.add(part_id)
        self._emit("failed", stage=stage, part_id=part_id, error=error)

    def _end(self, kind: Literal["finished", "unfinished"]) -> None:
        self.phase = "ended"
        self._emit(kind)

    def _emit(self, kind: Any, **values: Any) -> None:
        self._tell(Event(kind, self.steps.trial, **values))
