"""One trial as a Tune trial. It decides what runs when. It computes nothing and holds no CPU and no GPU."""

from __future__ import annotations

import json
import time
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.execution.placement_groups import PlacementGroupFactory

from memloc.errors import StorageError
from memloc.run.admission import Report
from memloc.run.events import Event, PartResult, TrainingResult
from memloc.run.fanout import PricedPart, cut
from memloc.run.placement import Assignment, with_room
from memloc.run.ray.admission_actor import Answer
from memloc.run.ray.draining import is_draining
from memloc.run.ray.failed_work import line_of, record
from memloc.run.ray.homes import Homes
from memloc.run.ray.storage_waits import patient_store
from memloc.run.ray.workers import run_parts, run_parts_on_gpu, train, train_on_gpu
from memloc.run.trial_run import TrialRun
from memloc.store import Store, leases

COORDINATOR_MEMORY = 120e6  # bytes; a bundle must not be empty, and CPUs in it would be missing for the work
TRAINER_LIVES = 3  # how often a trainer starts at most: one that is killed from outside goes on from its newest checkpoint
STEP_SECONDS = 0.5  # how long a coordinator waits for news before it reports
PAUSE_SECONDS = 0.2  # how long it waits for its turn before it asks again


class Coordinator(tune.Trainable):  # type: ignore[misc]
    """One trial as a Tune trial: starts the trainer, then the tasks, and reports what happened, step by step."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """What Tune reserves for a coordinator."""
        # On the driver's node: coordinators are small, and elsewhere they would keep idle machines from being released.
        return PlacementGroupFactory([{"memory": COORDINATOR_MEMORY, config["node"]: 0.001}])

    assignments: dict[str, Assignment]

    def setup(self, config: dict[str, Any], put: list[Any] | None = None, admission: Any = None) -> None:
        """Begins with a trial. Tune calls it once for a process, and `reset_config` calls it for every later trial.

        put: a list with the reference to the assignments of all trials. Tune unpacks parameters anew for every trial, but no
        reference in them.
        """
        if put is not None and not hasattr(self, "assignments"):
            self.assignments, self.admission = ray.get(put[0]), admission
        self.assignment = self.assignments[config["trial"]]
        self.trial = self.assignment.steps.trial
        self.training: Any = None  # reference to the result of the trainer
        self.placed = False  # whether it has its place
        self.fault = ""  # of the storage, for which a process waits
        self.device = ""  # how the device of a process has failed, until another one gets on
        self.no_card = ""  # what is said where no card computes any more
        self.lives = TRAINER_LIVES
        self.tasks: dict[Any, list[PricedPart]] = {}
        self.held: list[list[PricedPart]] = []  # tasks that wait for a node with their kind of device
        self.homes, self.says = Homes(self.assignment), ""  # says: for what kind of device it waits
        self.events: list[Event] = []
        self.admission.leave.remote(self.trial)  # removes what a lost coordinator has left there
        other = leases.taken_by_other(self._store().files, self.trial, self.assignment.holder)
        self.run = TrialRun(
            self.assignment.steps, lambda wave: cut(wave, self.assignment.tasks), self._prune, self.events.append, other
        )  # fmt: skip

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial into the same process."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the store is the truth. Tune asks for the method when it reuses coordinators."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""

    def step(self) -> dict[str, Any]:
        """Does what can be done now, and returns the events since the last step and whether the trial has ended.

        Callbacks of Tune also find the last epoch there, with its loss and accuracies.
        """
        if is_draining(self.assignment.run):
            self._drain()
        if self.run.phase == "train":
            self._train()
        if self.run.phase == "analyse":
            self._analyse()
        ended = self.run.phase == "ended"
        if ended:
            self.admission.leave.remote(self.trial)
        events = [e.as_json() for e in self.events]
        reached = [{"epoch": e.epoch, **e.metrics} for e in self.events if e.kind == "epoch" and e.metrics]
        self.events.clear()
        return {"events": json.dumps(events), "done": ended, **(reached[-1] if reached else {})}

    def cleanup(self) -> None:
        """Ends the processes that compute for the trial."""
        for task in [*self.tasks, *([self.training] if self.training else [])]:
            ray.cancel(task, force=True)
        self.admission.leave.remote(self.trial)

    # --- the processes that compute, as references to their results. "DEFAULT" means outside Tune's placement group: else
    # the group would have to hold the GPU from start to end.

    def start_training(self) -> Any:
        """Asks Ray for the training; returns the reference to its result, None while no node has its kind of device."""
        room = self.run.room(self.trial)
        demand, place = with_room(self.assignment.trainer, room), self.homes.place([self.trial])
        if place is None:
            return None
        trainer = train_on_gpu if demand["num_gpus"] else train
        asked = trainer.options(scheduling_strategy="DEFAULT", **demand, **place).remote(self.assignment.job, room)
        self.homes.begun(asked, place, [self.trial])
        return asked

    def start_parts(self, parts: list[PricedPart]) -> Any:
        """Asks Ray for a task of these parts; returns the reference to its results, or None as above."""
        ids = [part.id for part in parts]
        room = self.run.room(*ids)
        demand, place = with_room(self.assignment.task, room), self.homes.place(ids)
        if place is None:
            return None
        compute = run_parts_on_gpu if demand["num_gpus"] else run_parts
        asked = compute.options(scheduling_strategy="DEFAULT", **demand, **place).remote(self.assignment.job, ids, room)
        self.homes.begun(asked, place, ids)
        return asked

    def _drain(self) -> None:
        self.run.drain()
        for task in list(self.tasks) if self.no_card else ():  # every card is held, so none of them would ever begin
            ray.cancel(task, force=True)
            self.held.append(self.tasks.pop(task))
        while self.held:
            self.run.task_ended(self.held.pop())
        if self.run.phase == "train" and not self.placed:  # it may be waiting for a place for hours
            if self.training is not None:
                ray.cancel(self.training, force=True)
            self.run.training_ended(TrainingResult(finished=False))

    def _report(self) -> int:
        """Reports to admission and takes in the news of the training; returns how many tasks the trial may ask for now."""
        waits = self.run.phase == "train" and not self.placed
        fitting = self.assignment.tasks
        larger = fitting > self.assignment.trainings or bool(self.run.room(self.trial))  # it holds more than a task
        report = Report(waits, larger, self.run.phase == "analyse", len(self.tasks), self.run.queued, fitting)
        answer: Answer = ray.get(self.admission.report.remote(self.trial, report))
        if answer.host and not self.placed:
            self.placed = True
            self.run.placed(answer.host)
        self.homes.nodes.broken = answer.broken
        self.events += [Event("card", self.trial, error=line) for line in answer.cards]
        self.no_card = answer.no_card
        if self.no_card:
            self.events.append(Event("no_card", self.trial, error=self.no_card))
        for epoch, row in answer.epochs:
            self.run.reached(epoch, row)
        self.device = answer.device or self.device
        if answer.fault != self.fault:
            self.fault = answer.fault
            self.events.append(Event("waiting", self.trial, error=self.fault))
        return answer.granted

    # --- training

    def _train(self) -> None:
        if self.training is None and not self._begin_training():
            time.sleep(PAUSE_SECONDS)
            return
        self._report()
        if not self.placed and self.run.phase == "train":
            self._say("train", self.homes.waits([self.trial]))
            if self.homes.unreachable([self.training]):
                ray.cancel(self.training, force=True)
                self.training = None
                return
        if ray.wait([self.training], timeout=STEP_SECONDS)[0]:
            self._report()  # of its last epochs
            self._trained()

    def _begin_training(self) -> bool:
        """Asks for the training; False while it waits for a kind of device that no node has."""
        self.training = self.start_training()
        if self.training is not None:
            return True
        self._say("train", self.homes.waits([self.trial]))
        if line := self.homes.given_up([self.trial]):
            record(self._store(), self.trial, self.trial, "train", line, line)
            self.run.training_ended(TrainingResult(False, error=line))
        return False

    def _say(self, stage: str, says: str) -> None:
        """Tells for what kind of device the trial waits, when it has changed."""
        if says != self.says:
            self.says = says
            self.run.needs(stage, says)

    def _trained(self) -> None:
        """The training has ended. Its place is free before the fan-out asks for a share of it."""
        training, self.training = self.training, None
        try:
            result, self.device = ray.get(training), ""
        except RayError as lost:
            return self._trainer_lost(lost)
        if result.refused:
            return self._leave()
        self.homes.trained(result.kind)
        if result.needs:
            self.homes.refused(self.trial, result.needs)
            return self._leave()
        if not result.memory:
            return self.run.training_ended(result)
        self._leave()  # the next step starts it again, behind what holds the cards
        return self.run.training_again(result)

    def _leave(self) -> None:
        """The training has given its place back, and has not ended."""
        self.placed, self.says = False, ""
        ray.get(self.admission.leave.remote(self.trial))

    def _trainer_lost(self, error: RayError) -> None:
        self._leave()
        self.lives -= 1
        if self.lives == 0:  # else the next step starts another one, which goes on from the newest checkpoint
            self._record_failure(self.trial, "train", error)
            self.run.training_ended(TrainingResult(False, error=self.device or line_of(error)))

    # --- analyses

    def _analyse(self) -> None:
        self.held += [self.run.take() for _ in range(self._report())]
        self._begin_tasks()
        for task in self.homes.unreachable(self.tasks):
            ray.cancel(task, force=True)
            self.held.append(self.tasks.pop(task))
        if self.tasks:
            for task in ray.wait(list(self.tasks), timeout=STEP_SECONDS)[0]:
                self._collect(task, self.tasks.pop(task))
        else:
            time.sleep(PAUSE_SECONDS)  # trainers come first, or others' tasks

    def _begin_tasks(self) -> None:
        """Asks for the tasks that have been taken, except those that wait for a kind of device that no node has."""
        taken, self.held = self.held, []
        for parts in taken:
            task = self.start_parts(parts)
            if task is not None:
                self.tasks[task] = parts
            elif line := self.homes.given_up([part.id for part in parts]):
                for part in parts:
                    record(self._store(), self.trial, part.id, part.stage, line, line)
                    self.run.part_ended(part.stage, PartResult(part.id, error=line))
                self.run.task_ended([])
            else:
                self.held.append(parts)
                self._say(parts[0].stage, self.homes.waits([part.id for part in parts]))
        if taken and not self.held:
            self._say(taken[0][0].stage, "")

    def _collect(self, task: Any, parts: list[PricedPart]) -> None:
        left = {part.id: part for part in parts}
        try:
            results, self.device = ray.get(task), ""
        except RayError as error:  # the worker died again and again
            results = [self._lost(part, error) for part in parts]
        for result in results:
            part = left.pop(result.part_id)
            if result.memory:
                self.run.part_again(part, result)
            elif result.needs:
                self.homes.refused(part.id, result.needs)
                left[part.id] = part
            else:
                self.run.part_ended(part.stage, result)
        self.run.task_ended(list(left.values()))  # those not begun, because of draining or of their kind of device

    def _lost(self, part: PricedPart, error: RayError) -> PartResult:
        """The result of a part whose worker died. It may have committed the part before."""
        try:
            if self._store().commit(part.id) is not None:
                return PartResult(part.id)
        except StorageError as fault:
            return PartResult(part.id, storage=str(fault))
        self._record_failure(part.id, part.stage, error)
        return PartResult(part.id, error=self.device or line_of(error))

    def _record_failure(self, part_id: str, stage: str, error: RayError) -> None:
        record(self._store(), self.trial, part_id, stage, f"{type(error).__name__}: {error}", self.device or line_of(error))

    def _prune(self) -> None:
        from memloc.run.retention import prune

        prune(self._store(), ray.get(self.assignment.job).work)

    def _store(self) -> Store:
        return patient_store(self.assignment, self.admission, self.trial)
