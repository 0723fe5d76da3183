"""The desk as an actor, which all coordinators of a run ask; trainers tell it how far they are."""

from __future__ import annotations

import time
from typing import Any

import ray

from memloc.run.desk import Desk, Report


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class DeskActor:
    """Answers one after the other, in microseconds. Lost, it is replaced by one that knows again in half a second."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.epochs: dict[str, int] = {}

    def report(self, trial: str, report: Report) -> tuple[int, int | None]:
        """How many more tasks the trial may ask for; its training's epoch, None where that has not begun."""
        return self.desk.report(trial, report, time.monotonic()), self.epochs.get(trial)

    def reached(self, trial: str, epoch: int) -> None:
        self.epochs[trial] = epoch

    def leave(self, trial: str) -> None:
        """The trial is done, drained or lost, or its trainer is."""
        self.epochs.pop(trial, None)
        self.desk.leave(trial)


def open_desk() -> Any:
    """A run's desk, on the driver's node; it is there as long as somebody holds the handle."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return DeskActor.options(resources=here).remote()  # type: ignore[attr-defined]
