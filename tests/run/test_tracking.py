"""Logs of epochs besides the store: every epoch arrives, and nothing that happens to a logger reaches the sweep."""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event as Written

from memloc.errors import UsageError
from memloc.run.events import Event
from memloc.run.log_targets import LogTarget, log_target
from memloc.run.ray import tracking
from memloc.run.ray.tracking import Tracker
from tests.waiting import LONG

FIELDS = {"a": {"noise": 0.1, "dropout": "none", "subset": None}, "b": {"noise": 0.2, "dropout": "example_tied"}}


def result(trial: str, *epochs: int, end: str = "") -> dict[str, str]:
    """A step of a coordinator, whose training has come to these epochs since the last one."""
    events = [Event("epoch", trial, epoch=0)]  # where it begins; no row belongs to it
    events += [
        Event("epoch", trial, epoch=n, metrics={"loss": 1.0 / n, "test_acc": None}, seconds=0.5) for n in epochs
    ]  # fmt: skip
    events += [Event(end, trial)] if end else []  # type: ignore[arg-type]
    return {"events": json.dumps([event.as_json() for event in events])}


def tell(tracker: Tracker, *results: dict[str, str]) -> None:
    for given in results:
        tracker.on_trial_result(0, [], None, given)


@dataclass
class Recorder:
    """A logger as Tune has them. fails: the call that raises an error. hangs: whether every result takes for ever."""

    fails: str = ""
    hangs: bool = False
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> None:
            if name == self.fails:
                raise ConnectionError("nobody answers")
            if self.hangs and name == "log_trial_result":
                self.released.wait(LONG)
            self.calls.append((name, *map(str, arguments[:2]), *arguments[2:]))

        return call


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    made = Recorder()
    monkeypatch.setattr(tracking, "tune_logger", lambda target, sweep: made)
    yield made
    made.released.set()


def tracker(where: Path, kind: str = "mlflow") -> Tracker:
    return Tracker(LogTarget(kind, str(where)), "demo", FIELDS, str(where))


def test_every_epoch_arrives_in_order(tmp_path: Path, recorder: Recorder) -> None:
    """Also those of one step, and those of a training that goes on in another launch."""
    logged = tracker(tmp_path)
    tell(logged, result("a", 1, 2), result("b", 7), result("a", 3, end="finished"))
    assert logged.close() == ""
    rows = [
        (name, *rest) for name, *rest in recorder.calls if name.startswith("log_trial")
    ]  # fmt: skip
    row = {"seconds": 0.5}
    assert rows == [
        ("log_trial_start", "a"),
        ("log_trial_result", "1", "a", {"training_iteration": 1, "loss": 1.0, **row}),
        ("log_trial_result", "2", "a", {"training_iteration": 2, "loss": 0.5, **row}),
        ("log_trial_start", "b"),
        ("log_trial_result", "7", "b", {"training_iteration": 7, "loss": 1.0 / 7, **row}),
        ("log_trial_result", "3", "a", {"training_iteration": 3, "loss": 1.0 / 3, **row}),
        ("log_trial_end", "a"),
        ("log_trial_end", "b"),
    ]
    assert recorder.calls[0] == ("setup",)
    assert recorder.calls[-1] == ("on_experiment_end", "[]")


@pytest.mark.parametrize("fails", ["setup", "log_trial_start", "log_trial_result", "log_trial_end", "on_experiment_end"])
def test_a_logger_that_fails_is_one_line(tmp_path: Path, recorder: Recorder, fails: str) -> None:
    recorder.fails = fails
    logged = tracker(tmp_path)
    tell(logged, result("a", 1), result("a", 2), result("a", 3, end="finished"), result("b", 1))
    why = f"--log-to mlflow:{tmp_path}: ConnectionError: nobody answers; the sweep went on without this log"
    assert logged.close() == why


def test_a_server_that_does_not_answer_holds_up_nothing(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.3)
    monkeypatch.setattr(tracking, "WAITING", 50)
    recorder.hangs = True
    begun = time.monotonic()
    logged = tracker(tmp_path)
    tell(logged, *[result("a", n) for n in range(1, 100)])
    assert logged.close().endswith(": is too slow; the sweep went on without this log")
    assert time.monotonic() - begun < LONG / 2


def written(folder: Path) -> list[Written]:
    """What a TensorBoard would read: records of a length, a checksum, the bytes of an event, a checksum."""
    (file,) = folder.glob("events.out.tfevents.*")
    content, events = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        events.append(Written.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return events


def test_tensorboard(tmp_path: Path) -> None:
    logged = tracker(tmp_path, "tensorboard")
    tell(logged, result("a", 1, 2, 3), result("b", 1), result("a", 4, end="finished"))
    logged.close()
    events = written(tmp_path / "a")
    losses = {e.step: v.simple_value for e in events for v in e.summary.value if v.tag == "ray/tune/loss"}
    assert losses == pytest.approx({n: 1.0 / n for n in range(1, 5)})
    texts = b"".join(v.metadata.plugin_data.content for e in events for v in e.summary.value)
    assert b"noise" in texts  # the fields, as hyperparameters
    assert b"dropout" in texts
    assert written(tmp_path / "b")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logged = tracker(tmp_path / "file", "tensorboard")
    tell(logged, result("a", 1, end="finished"))
    assert "Not a directory" in logged.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorbord:x", "valid: tensorboard:DIR, mlflow:URI, wandb:PROJECT (did you mean 'tensorboard'?)"),
        ("tensorboard", "valid: tensorboard:DIR"),
        ("mlflow: ", "valid: mlflow:URI"),
        ("", "valid: tensorboard:DIR"),
        (
            "tensorboard:~no-such-user/logs",
            "Could not determine home directory. Write tensorboard:./~no-such-user/logs for a folder",
        ),
    ],
)
def test_bad_targets(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        log_target(text)
    assert message in raised.value.problems[0]


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memloc.run.log_targets.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs wandb; type: pip install 'memloc\[wandb\]'"):
        log_target("wandb:project")


def test_a_folder_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune changes the working directory of some processes."""
    monkeypatch.chdir(tmp_path)
    assert log_target("tensorboard:logs") == LogTarget("tensorboard", str(tmp_path / "logs"))
