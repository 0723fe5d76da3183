"""A coordinator that waits for the storage is seen to wait, though it can report nothing itself."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import RayActorError

from memloc.errors import StorageError
from memloc.run.admission import Report
from memloc.run.events import Event
from memloc.run.ray import admission_actor, storage_waits
from memloc.run.ray.admission_actor import SILENT_SECONDS, AdmissionActor
from memloc.run.ray.coordinator import Coordinator
from memloc.store import Files, Store
from tests.conftest import TINY, planned

ACTOR = AdmissionActor.__ray_metadata__.modified_class  # type: ignore[attr-defined]


class Called:
    """A handle to an actor of this process: its methods run at once."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.actor, name))


def coordinator(store: Path, trial: str, actor: Any, work: Any = None) -> Coordinator:
    own = Coordinator.__new__(Coordinator)
    own.assignment = SimpleNamespace(uri=str(store), patience=60.0, job=SimpleNamespace(work=work))  # type: ignore[assignment]
    own.admission, own.trial = Called(actor), trial
    return own


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get", lambda value, timeout=0.0: value)
    monkeypatch.setattr("memloc.store.patience.Patience._sleep", lambda *_: None)


def failing(method: Callable[..., Any], times: int, seen: Callable[[], object]) -> Callable[..., Any]:
    """The method, which fails so many times; `seen` is called with every try but the first."""
    tries = iter(range(times + 1))

    def tried(*arguments: Any, **named: Any) -> Any:
        n = next(tries, times)
        if n:
            seen()
        if n < times:
            raise StorageError(f"the disk is full ({n})")
        return method(*arguments, **named)

    return tried


def test_while_it_removes_checkpoints(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, actor, seen = Path(shutil.copytree(tiny, tmp_path / "store")), ACTOR(), list[dict[str, str]]()
    trial = planned(tmp_path, TINY).trials[0]
    work = SimpleNamespace(trial=trial, prune=True, keep={2})
    monkeypatch.setattr(Files, "put", patiently_failing(Files.put, 2, lambda: seen.append(actor.waiting("coordinator"))))
    coordinator(folder, trial.id, actor, work)._prune()
    # The first try does not wait: on a full disk a checkpoint would go at once, to make room for the record.
    assert seen == [{}, {trial.id: "the disk is full (1)"}]
    assert actor.waiting("coordinator") == {}
    assert [path.name for path in (folder / "checkpoints" / trial.id).glob("epoch-*")] == ["epoch-0002.safetensors"]


def test_while_it_looks_whether_a_lost_part_is_there(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actor, seen = ACTOR(), list[dict[str, str]]()
    part = next(c for c in Store(str(tiny)).snapshot().commits.values() if c.analysis is not None)
    monkeypatch.setattr(
        Files, "_infos", patiently_failing(Files._infos, 1, lambda: seen.append(actor.waiting("coordinator")))
    )
    own = coordinator(tiny, part.trial, actor)
    result = own._lost(SimpleNamespace(id=part.id, stage=part.stage), RayActorError())  # type: ignore[arg-type]
    assert (result.part_id, result.error) == (part.id, "")
    assert seen == [{part.trial: "the disk is full (0)"}]
    assert actor.waiting("coordinator") == {}


def patiently_failing(method: Any, times: int, seen: Callable[[], object]) -> Any:
    inner = failing(method.__wrapped__, times, seen)

    def patient(self: Files, *arguments: Any, **named: Any) -> Any:
        return self.patience(lambda: inner(self, *arguments, **named))

    return patient


def test_admission_keeps_processes_apart_and_forgets_silent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    actor, now = ACTOR(), [100.0]
    monkeypatch.setattr(admission_actor.time, "monotonic", lambda: now[0])
    actor.waits("t", "node/7", "gone")
    assert actor.waiting("coordinator") == {}
    actor.waits("t", "coordinator", "full")
    actor.waits("u", "coordinator", "full")
    assert actor.waiting("coordinator") == {"t": "full", "u": "full"}
    assert actor.report("t", Report(False, False)).fault == "gone"
    actor.waits("t", "coordinator", "")
    assert actor.waiting("coordinator") == {"u": "full"}
    now[0] += SILENT_SECONDS
    assert actor.waiting("coordinator") == {}
    assert actor.report("t", Report(False, False)).fault == ""


@pytest.mark.parametrize("ends", [False, True])
def test_the_driver_tells_when_it_begins_and_ends(monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """Each once; an actor that is lost for a while is asked again. If the launch gives up, the end is no news."""
    monkeypatch.setattr(storage_waits, "LOOK_SECONDS", 0.0)
    over, events = threading.Event(), list[Event]()
    answers = iter([{}, {"t": "full"}, RayActorError(), {"t": "still full", "u": "full"}, {"u": "full"}])

    def waiting(process: str) -> dict[str, str]:
        answer: Any = next(answers)
        if answer == {"u": "full"}:
            over.set()
        if isinstance(answer, Exception):
            raise answer
        assert process == "coordinator"
        return dict(answer)

    storage_waits.pass_on(Called(SimpleNamespace(waiting=waiting)), events.append, lambda: ends, over)
    assert events[:2] == [Event("waiting", "t", error="full"), Event("waiting", "u", error="full")]
    assert events[2:] == ([] if ends else [Event("waiting", "t")])
