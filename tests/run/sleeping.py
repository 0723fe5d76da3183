"""Trials of known seconds on a real Ray with logical GPUs, driven as memloc drives it: every process only sleeps.

    python -m tests.run.sleeping GPUS GPUS_PER_TASK

Prints as JSON the seconds from the first training's place to the last event, and what the simulation says of the same.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

# isort: off
import memloc.run.ray as _environment  # noqa: F401  (first: it sets what Ray reads when it is imported)
import ray

# isort: on
from memloc.run.events import Event, PartResult, TrainingResult
from memloc.run.fanout import PricedPart
from memloc.run.placement import Assignment, Resources
from memloc.run.ray.admission_actor import open_admission
from memloc.run.ray.connect import connected
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.driver import Experiment, Relay, fit
from memloc.run.schedule import Slots, TrialCost, bound, critical_path, in_order
from memloc.run.simulation import simulate
from memloc.run.trial_run import TrialSteps

# Seconds of the trainings; of each, of the parts of its first wave (each an analysis of its own) and of its second.
TRIALS = [(6.0, [2.0] * 3, [1.0]), (4.0, [1.5] * 4, [1.0]), (4.0, [3.0, 1.0], []), (3.0, [2.0] * 4, []), (2.0, [4.0], [2.0])]


def costs(task: float) -> list[TrialCost]:
    """A task that holds half a GPU sleeps as long as one that holds all of it."""
    made = []
    for i, (train, first, second) in enumerate(TRIALS):
        waves = tuple(
            tuple(PricedPart(f"{i}.{w}.{k}", f"{i}.{w}.{k}", "sleep", seconds) for k, seconds in enumerate(wave))
            for w, wave in enumerate((first, second))
            if wave
        )
        made.append(TrialCost(f"trial{i}", train, waves, 1.0, task))
    return in_order(made)


@ray.remote(max_retries=0, max_calls=50)
def sleep_training(job: dict[str, Any]) -> TrainingResult:
    job["admission"].placed.remote(job["trial"], platform.node())
    time.sleep(job["train"])
    return TrainingResult(True, job["train"])


@ray.remote(max_calls=50)
def sleep_parts(seconds: dict[str, float]) -> list[PartResult]:
    time.sleep(sum(seconds.values()))
    return [PartResult(part_id, own) for part_id, own in seconds.items()]


class Sleeping(Coordinator):
    def start_training(self) -> Any:
        options = {"scheduling_strategy": "DEFAULT", **self.assignment.trainer}
        return sleep_training.options(**options).remote(self.assignment.job)

    def start_parts(self, parts: list[PricedPart]) -> Any:
        options = {"scheduling_strategy": "DEFAULT", **self.assignment.task}
        return sleep_parts.options(**options).remote({part.id: part.seconds for part in parts})


def measure(gpus: int, task: float) -> dict[str, float]:
    trials = costs(task)
    moments: list[float] = []

    def listen(event: Event) -> None:
        if (event.kind, event.stage) == ("placed", "train") or moments:
            moments.append(time.monotonic())

    with connected(Resources(gpus=gpus, cpus=2), "sleeping") as connection:
        admission = open_admission()
        store = str(Path(connection.scratch, "store"))
        assignments = {
            t.trial: Assignment(
                TrialSteps(t.trial, True, t.waves, prunes=False), "sleeping", store, 0.0, None, ray.put(
                    {"admission": admission, "trial": t.trial, "train": t.train}
                ), {"num_gpus": 1.0, "num_cpus": 0.0}, {"num_gpus": task, "num_cpus": 0.0}, gpus, int(gpus / task),
            )
            for t in trials
        }  # fmt: skip
        fields: dict[str, dict[str, Any]] = {trial: {} for trial in assignments}
        experiment = Experiment("sleeping", connection.scratch, assignments, admission, fields, Sleeping)
        fit(experiment, [Relay(listen, lambda *_: None)], lambda: False)
    slots = Slots(gpus)
    total = sum(trial.work() for trial in trials)
    return {
        "ray": moments[-1] - moments[0],
        "simulated": simulate(trials, slots),
        "bound": bound(trials, slots),
        "list": total / gpus + critical_path(trials).seconds * (1 - 1 / gpus),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), float(sys.argv[2]))))
