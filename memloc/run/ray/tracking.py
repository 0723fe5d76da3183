"""Hands the epochs of trainings to one of Tune's own loggers. Whatever happens to the logger, the sweep goes on."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from memloc.errors import error_line
from memloc.run.events import Event
from memloc.run.log_targets import LogTarget

WAITING = 10_000  # epochs that wait for a slow logger at most; further ones are dropped
PATIENCE = 30.0  # seconds that the end of a sweep waits for what is still to be logged

Fields = Mapping[str, Any]


@dataclass(eq=False)
class LoggedTrial:
    """A training as Tune's loggers want a trial: its id, its fields, and a folder of its own."""

    trial_id: str
    config: Fields
    local_path: str
    experiment_dir_name: str
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def evaluated_params(self) -> Fields:
        """The fields; TensorBoard calls them hyperparameters."""
        return self.config

    def init_local_path(self) -> None:
        """Makes the folder."""
        Path(self.local_path).mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self.trial_id


class Tracker(tune.Callback):  # type: ignore[misc]
    """Tells a logger of every epoch, in a thread: a server that does not answer must not hold up the sweep.

    The first error ends the log. The run's own log says so at once, and the launch at its end.
    """

    def __init__(self, target: LogTarget, sweep: str, fields: Mapping[str, Fields], scratch: str) -> None:
        self.target, self.sweep, self.fields = target, sweep, fields
        self.folder = target.where if target.kind == "tensorboard" else scratch
        self._trials: dict[str, LoggedTrial] = {}
        self._tasks: queue.Queue[Callable[[Any], None] | None] = queue.Queue(WAITING)
        self._problem = ""
        self._thread = threading.Thread(target=self._work, daemon=True, name=str(target))
        self._thread.start()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for a restore that memloc never does

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any) -> None:
        """Passes on what a coordinator says of its training."""
        for raw in json.loads(result.get("events", "[]")):
            event = Event(**raw)
            if event.kind == "epoch" and event.metrics:
                self._epoch(event)
            elif event.kind in ("finished", "unfinished"):
                self._end(event.trial)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The trial has lost its coordinator for good."""
        self._end(trial.config["trial"])

    def close(self) -> str:
        """Waits for what is still to be logged, but not for long. Returns a line if the log has failed, else ""."""
        for trial in list(self._trials):
            self._end(trial)
        self._put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._give_up(f"did not end within {PATIENCE:g} s")
        return self._problem

    def _epoch(self, event: Event) -> None:
        if event.trial not in self._trials:
            folder = str(Path(self.folder, event.trial))
            self._trials[event.trial] = LoggedTrial(event.trial, self.fields[event.trial], folder, self.sweep)
            started = self._trials[event.trial]
            self._put(lambda logger: logger.log_trial_start(started))
        trial = self._trials[event.trial]
        metrics = {name: value for name, value in event.metrics.items() if value is not None}
        row = {"training_iteration": event.epoch, **metrics, "seconds": event.seconds}
        self._put(lambda logger: logger.log_trial_result(event.epoch, trial, row))

    def _end(self, trial_id: str) -> None:
        trial = self._trials.pop(trial_id, None)
        if trial is not None:
            self._put(lambda logger: logger.log_trial_end(trial))

    def _put(self, task: Callable[[Any], None] | None) -> None:
        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._give_up("is too slow")

    def _work(self) -> None:
        try:
            logger = tune_logger(self.target, self.sweep)
            logger.setup()
            while not self._problem and (task := self._tasks.get()) is not None:
                task(logger)
            logger.on_experiment_end([])
        except Exception as error:  # of a library, a disk or a server: whatever it is, it is not the sweep's
            self._give_up(error_line(error))

    def _give_up(self, why: str) -> None:
        if not self._problem:
            self._problem = f"{self.target}: {why}; the sweep went on without this log"
            logging.getLogger("memloc").warning(self._problem)


def tune_logger(target: LogTarget, sweep: str) -> Any:
    """Tune's logger for this log. sweep: the name of MLflow's experiment, and of the group in Weights & Biases."""
    if target.kind == "tensorboard":
        from ray.tune.logger import TBXLoggerCallback

        return TBXLoggerCallback()
    if target.kind == "mlflow":
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        return MLflowLoggerCallback(tracking_uri=target.where, experiment_name=sweep)
    from ray.air.integrations.wandb import WandbLoggerCallback

    return WandbLoggerCallback(project=target.where, group=sweep, upload_timeout=int(PATIENCE))
