"""One trial as a Tune trial: what runs when, without computing anything and without holding a CPU or a GPU."""

from __future__ import annotations

import json
import time
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.execution.placement_groups import PlacementGroupFactory

from memloc.errors import last_line
from memloc.run.admission import Report
from memloc.run.events import Event, PartResult
from memloc.run.fanout import cut
from memloc.run.placement import AssignedPart, Assignment
from memloc.run.ray.draining import is_draining
from memloc.run.ray.workers import run_parts, train, train_alone
from memloc.store import Store, records

COORDINATOR_MEMORY = 120e6  # bytes; a bundle must not be empty, and CPUs in it would be missing for the work
TRAINER_LIVES = 3  # a trainer killed from outside goes on from its newest checkpoint, this often in all
STEP_SECONDS = 0.5  # how long a coordinator waits for news before it reports
PAUSE_SECONDS = 0.2  # how long it waits for its turn before it asks again


class Coordinator(tune.Trainable):  # type: ignore[misc]
    """One trial as a Tune trial: starts the trainer, then the tasks, and reports what happened, step by step."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        # On the driver's node: coordinators weigh little, and elsewhere they would keep machines from being given back.
        return PlacementGroupFactory([{"memory": COORDINATOR_MEMORY, config["node"]: 0.001}])

    def setup(self, config: dict[str, Any], assignments: dict[str, Assignment] | None = None, admission: Any = None) -> None:
        if assignments is not None:
            self.assignments, self.admission = assignments, admission
        self.assignment = self.assignments[config["trial"]]
        self.training: Any = None  # reference to the result of the trainer
        self.epoch: int | None = None  # that it has reached; None: it has not begun
        self.lives = TRAINER_LIVES
        self.tasks: dict[Any, list[AssignedPart]] = {}
        self.failed: set[str] = set()
        self.events: list[Event] = []
        self.waves = list(self.assignment.waves)
        self.queue: list[list[AssignedPart]] = []
        self.draining = False
        self.state = "train" if self.assignment.trains else "analyse"
        self.admission.leave.remote(self.assignment.trial)  # whatever a coordinator that was lost left there
        self._emit("started")

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store is the truth. Tune asks for the method when it reuses coordinators."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def step(self) -> dict[str, Any]:
        self.draining = self.draining or is_draining(self.assignment.run)
        if self.state == "train":
            self._train()
        elif self.state == "analyse":
            self._analyse()
        events, self.events = [e.as_json() for e in self.events], []
        return {"events": json.dumps(events), "done": self.state == "end"}

    def cleanup(self) -> None:
        for task in [*self.tasks, *([self.training] if self.training else [])]:
            ray.cancel(task, force=True)
        self.admission.leave.remote(self.assignment.trial)

    def _emit(self, kind: Any, **values: Any) -> None:
        self.events.append(Event(kind, self.assignment.trial, **values))

    def _end(self, kind: str) -> None:
        self._emit(kind)
        self.state = "end"
        self.admission.leave.remote(self.assignment.trial)

    def _report(self) -> tuple[int, int | None]:
        """Tells admission what this trial wants: (tasks it may ask for now, the epoch that its training has reached)."""
        waits = self.state == "train" and self.epoch is None
        fitting = self.assignment.tasks
        larger = fitting > self.assignment.trainings  # fewer trainers than tasks fit: each holds more
        report = Report(waits, larger, self.state == "analyse", len(self.tasks), len(self.queue), fitting)
        may_ask, epoch = ray.get(self.admission.report.remote(self.assignment.trial, report))
        return may_ask, epoch

    # --- training

    def _train(self) -> None:
        if self.training is None:
            trainer = train_alone if self.assignment.trainer["num_gpus"] else train
            # "DEFAULT": outside Tune's placement group, which would have to hold the GPU from start to end otherwise.
            self.training = trainer.options(scheduling_strategy="DEFAULT", **self.assignment.trainer).remote(
                self.assignment.job
            )
        _, epoch = self._report()
        if epoch not in (None, self.epoch):  # None again: admission was lost, and does not know yet
            self.epoch = epoch
            self._emit("epoch", stage="train", epoch=epoch)
        if self.draining and self.epoch is None:  # it may be waiting for a place for hours
            ray.cancel(self.training, force=True)
            return self._end("drained")
        if ray.wait([self.training], timeout=STEP_SECONDS)[0]:
            self._trained()
        return None

    def _trained(self) -> None:
        """Its place is free: before the fan-out asks for a share of it."""
        training, self.training = self.training, None
        try:
            result = ray.get(training)
        except RayError as lost:
            return self._trainer_lost(lost)
        if result.error:
            return self._training_failed(result.error)
        if result.finished:
            self._emit("trained", stage="train", seconds=result.seconds)
            self.state = "analyse"
            return None
        return self._end("drained")

    def _trainer_lost(self, error: RayError) -> None:
        self.epoch = None
        ray.get(self.admission.leave.remote(self.assignment.trial))
        self.lives -= 1
        if self.lives == 0:  # else the next step starts another one, which goes on from the newest checkpoint
            self._record_failure(self.assignment.trial, "train", error)
            self._training_failed(last_line(error))

    def _training_failed(self, error: str) -> None:
        self.failed.add(self.assignment.trial)
        self._emit("failed", stage="train", part_id=self.assignment.trial, error=error)
        self._end("drained")

    # --- analyses

    def _analyse(self) -> None:
        if not self.queue and not self.tasks and self.waves and not self.draining:
            possible = [part for part in self.waves.pop(0) if not self.failed & set(part.needs)]
            self.queue = cut(possible, self.assignment.tasks)
        for _ in range(0 if self.draining else self._report()[0]):
            self._ask(self.queue.pop(0))
        if self.tasks:
            for task in ray.wait(list(self.tasks), timeout=STEP_SECONDS)[0]:
                self._collect(task, self.tasks.pop(task))
        elif self.draining and (self.queue or self.waves):
            self._end("drained")
        elif self.queue:
            time.sleep(PAUSE_SECONDS)  # trainers come first, or others' tasks
        elif not self.waves:
            if self.assignment.prunes and not self.failed:
                self._prune()
            self._end("finished")

    def _ask(self, parts: list[AssignedPart]) -> None:
        task = run_parts.options(scheduling_strategy="DEFAULT", **self.assignment.task).remote(
            self.assignment.job, [part.id for part in parts]
        )
        self.tasks[task] = parts

    def _collect(self, task: Any, parts: list[AssignedPart]) -> None:
        stages = {part.id: part.stage for part in parts}
        try:
            results = ray.get(task)
        except RayError as error:  # the worker died again and again
            results = [PartResult(part.id, error=self._lost(part, error)) for part in parts]
        for result in results:
            stage = stages.pop(result.part_id)
            if result.error:
                self.failed.add(result.part_id)
                self._emit("failed", stage=stage, part_id=result.part_id, error=result.error)
            else:
                self._emit("part", stage=stage, part_id=result.part_id, seconds=result.seconds)
        if stages:  # not begun, because of draining
            self.queue.append([part for part in parts if part.id in stages])

    def _lost(self, part: AssignedPart, error: RayError) -> str:
        """The error line of a part whose worker died, unless it had committed it."""
        if Store(self.assignment.uri).commit(part.id) is not None:
            return ""
        self._record_failure(part.id, part.stage, error)
        return last_line(error)

    def _record_failure(self, part_id: str, stage: str, error: RayError) -> None:
        text = f"{type(error).__name__}: {error}"
        records.record_failure(Store(self.assignment.uri).files, part_id, self.assignment.trial, stage, text)

    def _prune(self) -> None:
        from memloc.run.retention import prune

        prune(Store(self.assignment.uri), ray.get(self.assignment.job).work)
