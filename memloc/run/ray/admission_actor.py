"""Admission as an actor. All coordinators of a run ask it, and trainers tell it their progress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import ray

from memloc.run.admission import Admission, Report

News: TypeAlias = list[tuple[int, Mapping[str, Any]]]  # epochs with their rows, as `run_training` tells of them


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AdmissionActor:
    """Answers one call after the other, in microseconds. If it is lost, its replacement knows all within half a second."""

    def __init__(self) -> None:
        self.admission = Admission()
        self.hosts: dict[str, str] = {}
        self.news: dict[str, News] = {}

    def report(self, trial: str, report: Report) -> tuple[int, str, News]:
        """(how many more tasks the trial may ask for, where its training has a place, its epochs since the last report)."""
        granted = self.admission.report(trial, report, time.monotonic())
        return granted, self.hosts.get(trial, ""), self.news.pop(trial, [])

    def placed(self, trial: str, host: str) -> None:
        """The training of the trial has a place on this host."""
        self.hosts[trial] = host

    def reached(self, trial: str, host: str, epoch: int, row: Mapping[str, Any]) -> None:
        """The training of the trial has reached an epoch; row: that of table `epochs`."""
        self.hosts[trial] = host  # an actor that was replaced does not know
        self.news.setdefault(trial, []).append((epoch, row))

    def leave(self, trial: str) -> None:
        """The trial is done, drained or lost, or its trainer is."""
        self.hosts.pop(trial, None)
        self.news.pop(trial, None)
        self.admission.leave(trial)


def open_admission() -> Any:
    """A run's admission, on the driver's node. It lives as long as a handle to it does."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return AdmissionActor.options(resources=here).remote()  # type: ignore[attr-defined]
