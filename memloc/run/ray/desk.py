"""The desk as an actor, which all coordinators of a run ask."""

from __future__ import annotations

import time
from typing import Any

import ray

from memloc.run.desk import Desk, Report


@ray.remote(num_cpus=0)
class DeskActor:
    """Answers coordinators, one after the other, in microseconds."""

    def __init__(self) -> None:
        self.desk = Desk()

    def report(self, trial: str, report: Report) -> int:
        return self.desk.report(trial, report, time.monotonic())

    def leave(self, trial: str) -> None:
        self.desk.leave(trial)


def open_desk() -> Any:
    """A run's desk, on the driver's node; it is there as long as somebody holds the handle."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return DeskActor.options(resources=here).remote()  # type: ignore[attr-defined]
