"""What the driver makes of the news of coordinators, and of a coordinator that is lost. No Ray is started."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import ray._private.utils
import torch
from ray import tune
from ray.exceptions import RayTaskError, WorkerCrashedError
from ray.tune.search.variant_generator import generate_variants

from memloc.analysis.sweep_status import sweep_status
from memloc.commands.status import render
from memloc.run.events import Event
from memloc.run.placement import Assignment, Resources
from memloc.run.ray import connect
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.driver import Drained, Experiment, OnRay, Relay, _fields
from memloc.run.ray.failed_work import line_of
from memloc.run.trial_run import TrialSteps
from memloc.store import Store, records
from tests.run.test_plan import plan_of

DIED = """Failure # 1 (occurred at 2026-11-28_16-00-00)
The actor died because of an error raised in its creation task
Failure # 2 (occurred at 2026-11-28_16-01-00)
The actor died unexpectedly before finishing this task.
\tclass_name: Coordinator
"""
RAISED = """Failure # 1 (occurred at 2026-11-28_16-00-00)
ray::Coordinator.train() (pid=1)
Traceback (most recent call last):
  File "coordinator.py", line 1, in step
ValueError: no luck
"""


@dataclass
class Trial:
    """A Tune trial as the callback gets it."""

    trial: str
    error_file: str | None = None
    config: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"trial": self.trial}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (DIED, "The actor died unexpectedly before finishing this task."),
        (RAISED, "ValueError: no luck"),
        ("", "its process ended and left no message"),
        (None, "its process ended and left no message"),
    ],
)
def test_a_lost_coordinator_leaves_its_error_in_the_store(tmp_path: Path, text: str | None, line: str) -> None:
    plan = plan_of(tmp_path)
    store, lost = Store(str(tmp_path / "store")), plan.trials[0].id
    records.write_sweep(store.files, "tiny", plan.record())
    events: list[Event] = []
    relay = Relay(events.append, OnRay(store, tmp_path, Resources(), print)._record)
    drained = Drained(lambda: True, lambda: len(relay.working))
    relay.on_trial_result(0, [], Trial(lost), {"events": json.dumps([Event("started", lost).as_json()])})
    assert not drained.stop_all()
    file = tmp_path / "error.txt"
    if text is not None:
        file.write_text(text)
    relay.on_trial_error(0, [], Trial(lost, str(file)))
    file.unlink(missing_ok=True)  # with the scratch folder
    assert drained.stop_all()
    assert [e.kind for e in events] == ["started", "failed", "unfinished"]
    assert (events[1].part_id, events[1].error) == (lost, line)
    status: dict[str, Any] = sweep_status(store, "tiny")
    assert status["counts"]["failed"] == 1
    (failure,) = status["failures"]
    assert (failure["error"], failure["stage"]) == (events[1].error, "coordinator")
    assert str(file) not in render(status)
    assert (text or line).splitlines()[-1].strip() in render(status)


@pytest.mark.parametrize(("asked", "given"), [(None, 3), (0, 0), (1, 1)])
def test_ray_hands_out_the_gpus_that_torch_sees(monkeypatch: pytest.MonkeyPatch, asked: int | None, given: int) -> None:
    """Ray itself would also count those that a torch without CUDA cannot use."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(connect.ray, "init", lambda **options: told.update(options))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    connect._start(Resources(gpus=asked), "run", None)
    assert told["num_gpus"] == given


def test_the_error_line_of_a_task_is_that_of_its_own_exception() -> None:
    """Ray's own begins with the task and its process, in colours."""
    own = ModuleNotFoundError("No module named 'memloc'")
    wrapped = RayTaskError("train", "Traceback …", own).as_instanceof_cause()
    assert line_of(wrapped) == "ModuleNotFoundError: No module named 'memloc'"
    assert line_of(WorkerCrashedError()).startswith("WorkerCrashedError: ")


def test_ray_cannot_take_over_the_signals_while_it_starts() -> None:
    def own(number: int, frame: Any) -> None:
        """Never called."""

    setter = ray._private.utils.set_sigterm_handler
    before = signal.signal(signal.SIGTERM, own)
    try:
        with connect._signals_kept():
            ray._private.utils.set_sigterm_handler(signal.SIG_DFL)
            assert signal.getsignal(signal.SIGTERM) is own
        assert signal.getsignal(signal.SIGTERM) is own
        assert ray._private.utils.set_sigterm_handler is setter
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_coordinator_holds_neither_a_cpu_nor_a_gpu() -> None:
    """Else a training that needs all of them would wait for it for ever."""
    asked = Coordinator.default_resource_request({"node": "node:10.0.0.1"})
    assert set(asked.required_resources) == {"memory", "node:10.0.0.1"}


def test_tune_keeps_no_values_of_a_trial_that_has_ended() -> None:
    """They would be most of what a driver of many thousand trials keeps in memory."""
    trial = tune.experiment.Trial("train", stub=True)
    trial.run_metadata.update_metric("loss", 0.5, step=1)
    assert trial.run_metadata.metric_analysis
    assert trial.run_metadata.metric_n_steps
    Relay(lambda event: None, lambda *_: None).on_trial_complete(0, [], trial)
    assert not trial.run_metadata.metric_analysis
    assert not trial.run_metadata.metric_n_steps


def test_a_coordinator_fetches_the_assignments_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune hands its parameters over with every trial; with all assignments a sweep would take the square of its trials."""
    assignments = {
        trial: Assignment(TrialSteps(trial, True, (), False), "run", str(tmp_path), 0.0, None, None, {}, {}, 1, 1)
        for trial in ("a", "b")
    }
    fetched: list[Any] = []

    def get(reference: Any) -> dict[str, Assignment]:
        fetched.append(reference)
        return assignments

    monkeypatch.setattr(ray, "get", get)
    own = Coordinator.__new__(Coordinator)
    for trial in assignments:
        own.setup({"trial": trial}, ["reference"], MagicMock())
        assert own.assignment is assignments[trial]
    assert fetched == ["reference"]


def test_tune_sees_the_fields_of_each_trial() -> None:
    """As Tune resolves the space: loggers of Tune's own, and whoever reads its results, find them in a trial's config."""
    fields = {"a": {"noise": 0.1, "dropout": "none"}, "b": {"noise": 0.2, "dropout": "none"}, "c": {"noise": 0.1}}
    assignments: dict[str, Any] = dict.fromkeys(["c", "a", "b"])
    space = _fields(Experiment("run", "", assignments, None, fields))
    resolved = [spec["config"] for _, spec in generate_variants({"config": space})]
    assert resolved == [{"trial": trial, "fields": fields[trial]} for trial in ("c", "a", "b")]


def test_tune_sees_the_last_epoch_of_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its loss and accuracies, beside all events. A step without an epoch has none."""
    assignment = Assignment(TrialSteps("a", True, (), False), "run", str(tmp_path), 0.0, None, None, {}, {}, 1, 1)
    monkeypatch.setattr(ray, "get", lambda reference: {"a": assignment})
    monkeypatch.setattr("memloc.run.ray.coordinator.is_draining", lambda run: False)
    own = Coordinator.__new__(Coordinator)
    own.setup({"trial": "a"}, ["reference"], MagicMock())
    metrics = {"loss": 0.25, "clean_acc": 0.75, "noisy_acc": 0.5, "test_acc": None}
    reached = [
        Event("epoch", "a", epoch=1),  # where it goes on
        Event("epoch", "a", epoch=2, metrics={**metrics, "loss": 0.5}, seconds=1.0),
        Event("epoch", "a", epoch=3, metrics=metrics, seconds=1.0),
        Event("part", "a", stage="rewind", part_id="b"),
    ]
    steps = iter([reached, [Event("part", "a", stage="rewind", part_id="c")]])
    monkeypatch.setattr(own, "_train", lambda: own.events.extend(next(steps)))
    own.events.clear()
    first, second = own.step(), own.step()
    assert {name: first[name] for name in first.keys() - {"events"}} == {"done": False, "epoch": 3, **metrics}
    assert [Event(**raw) for raw in json.loads(first["events"])] == reached
    assert second.keys() == {"events", "done"}
    assert [raw["part_id"] for raw in json.loads(second["events"])] == ["c"]


def test_a_trial_that_another_driver_has_taken_over_is_not_at_work_here(tmp_path: Path) -> None:
    """Its coordinator was lost, and the next one found the lease in other hands."""
    relay = Relay(lambda event: None, lambda *_: None)
    for kind in ("started", "elsewhere"):
        relay.on_trial_result(0, [], Trial("a"), {"events": json.dumps([Event(kind, "a").as_json()])})  # type: ignore[arg-type]
    assert relay.working == set()
