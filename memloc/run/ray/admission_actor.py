"""The admission as an actor, which all coordinators of a run ask; trainers tell it how far they are."""

from __future__ import annotations

import time
from typing import Any

import ray

from memloc.run.admission import Admission, Report


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AdmissionActor:
    """Answers one after the other, in microseconds. Lost, it is replaced by one that knows again in half a second."""

    def __init__(self) -> None:
        self.admission = Admission()
        self.epochs: dict[str, int] = {}

    def report(self, trial: str, report: Report) -> tuple[int, int | None]:
        """How many more tasks the trial may ask for; its training's epoch, None where that has not begun."""
        return self.admission.report(trial, report, time.monotonic()), self.epochs.get(trial)

    def reached(self, trial: str, epoch: int) -> None:
        self.epochs[trial] = epoch

    def leave(self, trial: str) -> None:
        """The trial is done, drained or lost, or its trainer is."""
        self.epochs.pop(trial, None)
        self.admission.leave(trial)


def open_admission() -> Any:
    """A run's admission, on the driver's node; it is there as long as somebody holds the handle."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return AdmissionActor.options(resources=here).remote()  # type: ignore[attr-defined]
