"""Cards that fail again and again. On a real Ray: the last test here."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import ray
import torch
from ray.exceptions import WorkerCrashedError

from memloc.errors import DeviceError
from memloc.run import quarantine
from memloc.run.admission import Report
from memloc.run.events import Room, TrainingResult
from memloc.run.fanout import PricedPart
from memloc.run.quarantine import CardPlace, Quarantine
from memloc.run.ray import admission_actor, coordinator, draining, holding, workers
from memloc.run.ray.admission_actor import Answer
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.node_kinds import NodeKinds
from memloc.run.trial_run import TrialRun, TrialSteps
from tests.run.programs import environment

N, M = "a" * 56, "b" * 56  # nodes as Ray names them
A, B, OTHER = CardPlace(N, "host", "0"), CardPlace(N, "host", "1"), CardPlace(M, "far", "0")
PART = PricedPart("p", "a", "rewind", 1.0)
ACTOR = admission_actor.AdmissionActor.__ray_metadata__.modified_class  # type: ignore[attr-defined]


def test_twice_in_a_row_makes_a_card_suspect() -> None:
    cards = Quarantine()
    assert not cards.failed(A, "first")
    assert not cards.failed(B, "first")  # of another card
    cards.worked(A)
    assert not cards.failed(A, "second")
    assert cards.gets_work(A)
    assert cards.failed(A, "third")
    assert (cards.gets_work(A), cards.gets_work(B)) == (False, True)
    assert not cards.failed(A, "fourth")  # of a process that was there before
    assert cards.breaks(A) == "GPU 0 of host takes no more work in this run; it has failed again and again: third"
    assert not cards.gets_work(A)
    assert cards.none_left() == "no GPU is left that computes; the last one was GPU 0 of host: third"


def test_a_card_that_computes_gets_work_again_twice() -> None:
    cards = Quarantine()
    tested = []
    for how in ("one", "two", "three"):
        assert not cards.failed(A, how)
        assert cards.failed(A, how)
        tested.append(cards.is_tested(A))
        if tested[-1]:
            cards.passed(A)
            assert cards.gets_work(A)
    assert tested == [True, True, False]
    cards.breaks(A)
    cards.passed(A)
    assert not cards.gets_work(A)
    assert not cards.is_tested(A)


def test_work_that_is_done_clears_a_card() -> None:
    cards = Quarantine()
    for _ in range(5):
        cards.failed(A, "")
        assert cards.failed(A, "")
        assert cards.is_tested(A)
        cards.passed(A)
        cards.worked(A)


def test_nodes_without_another_card() -> None:
    cards = Quarantine()
    gpus = {N: 2.0, M: 1.0, "head": 0.0}
    assert cards.broken_nodes(gpus) == frozenset()
    cards.breaks(A)
    assert cards.broken_nodes(gpus) == frozenset()
    cards.breaks(OTHER)
    assert cards.broken_nodes(gpus) == {M}
    cards.breaks(B)
    assert cards.broken_nodes(gpus) == {N, M}


def test_what_a_device_computes() -> None:
    assert quarantine.computes(torch.device("cpu"))
    assert not quarantine.computes(torch.device("meta"))  # it has no numbers
    assert not quarantine.computes(torch.device("cuda", 77))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """{what holds a card: its answer} of the tasks that were asked for, in order; no answer yet: None. And the nodes."""
    asked: dict[str, Any] = {}

    def hold(card: CardPlace, admission: Any, tests: bool) -> str:
        name = f"{card} {'tested' if tests else 'held'} {len(asked)}"
        asked[name] = None
        return name

    task = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=hold))
    monkeypatch.setattr(holding, "_hold", task)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(current_actor="me"))

    def wait(references: list[str], num_returns: int, timeout: float) -> tuple[list[str], list[str]]:
        return [r for r in references if asked[r] is not None], []

    def get(reference: str) -> bool:
        if isinstance(asked[reference], Exception):
            raise asked[reference]
        return bool(asked[reference])

    monkeypatch.setattr(ray, "wait", wait)
    monkeypatch.setattr(ray, "get", get)
    nodes = [{"NodeID": N, "Alive": True, "Resources": {"GPU": 1.0}}, {"NodeID": "h", "Alive": True, "Resources": {}}]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    return asked


def test_what_admission_does_with_a_card(answers: dict[str, Any]) -> None:
    """A holder may get another card of the node, or die; it is asked for until it has the right one."""
    actor = ACTOR()

    def reported() -> Answer:
        answer: Answer = actor.report("t", Report())
        return answer

    actor.failed_device("t", "how", None)  # of a CPU
    for _ in range(2):
        actor.failed_device("t", "how", A)
    assert list(answers) == ["GPU 0 of host tested 0"]
    assert not actor.gets_work(A)
    answers["GPU 0 of host tested 0"] = False  # it was another card
    assert reported() == Answer(0, "", [], "", "how")
    answers["GPU 0 of host tested 1"] = WorkerCrashedError()
    reported()
    answers["GPU 0 of host tested 2"] = True
    assert reported() == Answer(0, "", [], "", "")  # how the device has failed is told once
    assert actor.gets_work(A)
    for _ in range(2):
        actor.failed_device("t", "again", A)
    actor.broken(A)
    actor.broken(A)
    line = "GPU 0 of host takes no more work in this run; it has failed again and again: again"
    last = "no GPU is left that computes; the last one was GPU 0 of host: again"
    answer = reported()
    assert (answer.cards, answer.broken, answer.no_card) == ((line,), {N}, last)
    assert reported().cards == ()
    answers["GPU 0 of host tested 3"] = WorkerCrashedError()
    reported()
    assert list(answers)[-1] == "GPU 0 of host held 4"  # broken for good


def test_a_card_that_is_gone_is_not_held(answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    actor = ACTOR()
    for _ in range(2):
        actor.failed_device("t", "how", A)
    answers["GPU 0 of host tested 0"] = WorkerCrashedError()
    monkeypatch.setattr(ray, "nodes", list)
    actor.report("t", Report())
    assert len(answers) == 1
    assert actor.gets_work(A)


@pytest.mark.parametrize("others", [(OTHER,), (OTHER, B)])
def test_other_cards_are_left(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch, others: tuple[CardPlace, ...]
) -> None:
    nodes = {N: 2.0, M: 1.0}
    monkeypatch.setattr(admission_actor, "gpus_of_nodes", lambda: nodes)
    actor = ACTOR()
    for card in others:
        actor.broken(card)
    answer = actor.report("t", Report())
    assert (answer.broken, answer.no_card) == ({M}, "")


def test_who_holds_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    admission = SimpleNamespace(broken=SimpleNamespace(remote=told.append))
    hold = holding._hold._function

    class SleepsError(Exception):
        pass

    def sleep(seconds: float) -> None:
        raise SleepsError

    monkeypatch.setattr(holding.time, "sleep", sleep)
    monkeypatch.setattr(holding, "own_place", lambda: A)
    monkeypatch.setattr(holding, "own_device", lambda: torch.device("cpu"))
    assert not hold(B, admission, True)
    assert hold(A, admission, True)  # the CPU that stands for it computes
    assert not told
    with pytest.raises(SleepsError):
        hold(A, admission, False)

    def fails() -> None:
        raise DeviceError("no card")

    monkeypatch.setattr(holding, "own_device", fails)
    with pytest.raises(SleepsError):
        hold(A, admission, True)
    assert told == [A, A]


def test_a_refused_task_begins_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = [True]
    admission = SimpleNamespace(gets_work=SimpleNamespace(remote=lambda card: card == A and not refused[0]))
    job: Any = SimpleNamespace(admission=admission, work=SimpleNamespace(parts=[]))
    monkeypatch.setattr(workers.ray, "get", lambda reference: reference)
    monkeypatch.setattr(workers, "own_place", lambda: A)
    assert workers._train(job, Room.SHARE) == TrainingResult(False, refused=True)
    assert workers._run_parts(job, ["p"], Room.SHARE) == []
    refused[0] = False
    assert not workers._is_refused(job)
    monkeypatch.setattr(workers, "own_place", lambda: None)  # a task on CPUs asks nobody
    admission.gets_work = None
    assert not workers._is_refused(job)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A coordinator in its training, without Tune."""
    made: Any = Coordinator.__new__(Coordinator)
    made.admission, made.trial, made.events, made.fault, made.device, made.no_card = MagicMock(), "t", [], "", "", ""
    made.homes, made.tasks, made.held = MagicMock(nodes=NodeKinds()), {}, []
    made.run = TrialRun(TrialSteps("t", True, (), False), lambda wave: [list(wave)], lambda: None, made.events.append)
    made.assignment = SimpleNamespace(run="run", tasks=1, trainings=1)
    made.says, made.placed, made.lives = "", True, 3
    return made


def test_a_refused_training_begins_again_and_costs_no_try(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator.ray, "get", lambda reference: reference)
    own.training = TrainingResult(False, refused=True)
    own._trained()
    assert (own.training, own.lives, own.placed, own.run.phase) == (None, 3, False, "train")
    assert own.admission.leave.remote.called


def test_a_fault_of_a_device_is_no_reason_of_a_later_loss(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training has lost a process with its card, and another one has trained. Then the kernel kills a task."""
    failures: list[str] = []
    monkeypatch.setattr(coordinator, "record", lambda store, trial, part, stage, text, line: failures.append(line))
    monkeypatch.setattr(Coordinator, "_store", lambda own: MagicMock(commit=lambda part_id: None))
    results: list[Any] = [WorkerCrashedError(), TrainingResult(True)]

    def get(reference: object) -> Any:
        result = results.pop(0) if reference == "training" else WorkerCrashedError() if reference == "task" else None
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(coordinator.ray, "get", get)
    own.device = "CUDA error: an illegal memory access was encountered"
    own.run = TrialRun(TrialSteps("t", True, ((PART,),), False), lambda wave: [list(wave)], lambda: None, own.events.append)
    for _ in range(2):
        own.training = "training"
        own._trained()
    assert (own.run.phase, own.lives) == ("analyse", 2)
    own._collect("task", own.run.take())
    (line,) = failures
    assert line.startswith("WorkerCrashedError: ")


def test_an_order_to_stop_is_not_lost_with_another_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag lies where the driver is."""
    flag, over = MagicMock(), threading.Event()
    monkeypatch.setattr(draining, "Flag", flag)
    monkeypatch.setattr(draining, "_flag", [])
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    draining.raise_flag_when("run", lambda: True, over)
    flag.options.assert_called_once_with(name="memloc-drain-run", resources={"node:10.0.0.7": 0.001})
    assert draining._flag == [flag.options.return_value.remote.return_value]


def test_what_a_coordinator_says_of_cards(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With none left its tasks are taken back: they would wait for ever behind those that hold the cards."""
    answer = Answer(0, "", [], "", "", ("a card",), frozenset({N}), "none")
    monkeypatch.setattr(coordinator.ray, "get", lambda reference: answer)
    cancelled: list[str] = []
    monkeypatch.setattr(coordinator.ray, "cancel", lambda task, force: cancelled.append(task))
    own.training, own.placed = "training", False
    own._report()
    assert own.homes.nodes.broken == {N}
    assert [(e.kind, e.error) for e in own.events[1:]] == [("card", "a card"), ("no_card", "none")]
    own.tasks = {"task": []}
    own._drain()
    assert cancelled == ["task", "training"]
    assert (own.tasks, own.held, own.run.phase) == ({}, [], "ended")


def test_work_is_bound_to_nodes_that_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = NodeKinds(gpus=True)
    kinds._alive, kinds._looked = (N, M), float("inf")
    assert kinds.alive() == (N, M)
    kinds.broken = frozenset({M})
    assert kinds.alive() == (N,)
    assert dataclasses.replace(kinds).broken == {M}


@pytest.mark.slow
def test_a_held_card_on_a_real_ray(tmp_path: Path) -> None:
    """Tasks go to the other one, and both are free when the run is over."""
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.run.held_cards"]
    env = environment(tmp_path, PYTHONPATH=path)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    one, other = seen["names"]
    assert one != other
    takes_none = "takes no more work in this run; it has failed again and again: an error"
    assert seen["said"] == [f"{one} {takes_none}", f"{other} {takes_none}"]
    assert (seen["elsewhere"], seen["get work"], seen["broken"]) == (True, [False, True], [0, 1])
    assert seen["no card"] == ["", f"no GPU is left that computes; the last one was {other}: an error"]
    assert seen["free"] == 0
