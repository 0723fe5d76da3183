"""States written while the next epoch trains: in order, one at a time, nothing lost but by a kill."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.data import Data
from memloc.errors import StoreError
from memloc.run import trainer
from memloc.run.writer import StateWriter
from memloc.stages.training.loop import Epoch
from memloc.store import Files, checkpoints, layout
from tests.run.programs import environment, python
from tests.run.test_resume import Place, T, assert_same

PATIENCE = 60.0  # seconds until a test takes something for stuck


def state(epoch: int) -> Epoch:
    tensors = {"a": torch.full((3,), float(epoch))}
    return Epoch(epoch, tensors, tensors, tensors, {"epoch": epoch})


def rows(epoch: int) -> list[dict[str, Any]]:
    return [{"epoch": t} for t in range(1, epoch + 1)]


def test_whats_handed_over_is_what_is_there(tmp_path: Path) -> None:
    files = Files(str(tmp_path))
    told: list[dict[str, Any]] = []
    with StateWriter(files, "t", {0, 1, 2, 3}, "here") as writer:
        for epoch in range(3):
            told += [{"epoch": epoch}] if epoch else []
            writer.hand_over(state(epoch), told)
        told.append({"epoch": 99})  # of a later epoch: no part of what was handed over
    assert [e.epoch for e in writer.entries] == [0, 1, 2]
    found = checkpoints.load_resume(files, "t", {0, 1, 2}, "here")
    assert found is not None
    assert (found[0].epoch, found[0].rows, found[0].entries) == (2, rows(2), writer.entries)
    assert found[1]["a"].tolist() == [2.0] * 3
    assert len(checkpoints.resume_states(files, "t")) == 1


def test_handing_over_waits_for_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, original = threading.Event(), Files.put

    def slow(self: Files, path: str, data: bytes) -> None:
        assert go_on.wait(PATIENCE)
        original(self, path, data)

    monkeypatch.setattr(Files, "put", slow)
    files = Files(str(tmp_path))
    with StateWriter(files, "t", {0, 1}, "here") as writer:
        writer.hand_over(state(0), [])  # returns at once
        assert not files.listing(layout.checkpoints("t"))
        second = threading.Thread(target=writer.hand_over, args=(state(1), rows(1)))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        go_on.set()
        second.join(PATIENCE)
        assert not second.is_alive()
        assert layout.checkpoint("t", 0) in files.listing(layout.checkpoints("t"))


def test_the_next_epoch_trains_while_one_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of epoch 0 waits until epoch 1 has been trained, which would be for ever if they took turns."""
    trained, original, train = threading.Event(), Files.put, trainer.train

    def observed(*arguments: Any) -> Iterator[Epoch]:
        for epoch in train(*arguments):
            if epoch.epoch == 1:
                trained.set()
            yield epoch

    def after_epoch_1(self: Files, path: str, data: bytes) -> None:
        assert trained.wait(PATIENCE)
        original(self, path, data)

    monkeypatch.setattr(trainer, "train", observed)
    monkeypatch.setattr(Files, "put", after_epoch_1)
    assert Place(tmp_path / "one").train() == (True, list(range(T + 1)))


@pytest.mark.parametrize("last", [False, True])
def test_an_error_is_raised_in_the_training_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """At the next hand-over, or at the end where there is none; nothing is written after it."""
    files, original = Files(str(tmp_path)), Files.put

    def full_disk(self: Files, path: str, data: bytes) -> None:
        if path == layout.checkpoint("t", 1):
            raise StoreError("no space left")
        original(self, path, data)

    monkeypatch.setattr(Files, "put", full_disk)

    def write() -> None:
        with StateWriter(files, "t", {0, 1, 2}, "here") as writer:
            for epoch in range(2 if last else 3):
                writer.hand_over(state(epoch), rows(epoch))
            if not last:
                raise AssertionError("state 2 was taken after state 1 had failed")

    with pytest.raises(StoreError, match="no space left") as caught:
        write()
    assert "in full_disk" in "".join(traceback.format_exception(caught.value))
    found = checkpoints.load_resume(files, "t", {0}, "here")
    assert found is not None
    assert found[0].epoch == 0
    assert layout.checkpoint("t", 2) not in files.listing(layout.checkpoints("t"))


def test_whatever_ends_the_training_the_state_under_way_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the data, or the device, fail in the middle of an epoch."""
    train = trainer.train

    def broken(config: Any, data: Data, device: torch.device, after: Epoch | None = None) -> Iterator[Epoch]:
        for epoch in train(config, data, device, after):
            if epoch.epoch == 2:
                raise RuntimeError("the device fell off")
            yield epoch

    place = Place(tmp_path / "one", {"augment": "none"})
    monkeypatch.setattr(trainer, "train", broken)
    with pytest.raises(RuntimeError, match="fell off"):
        place.train()
    assert place.epochs_here == [0, 1]
    monkeypatch.setattr(trainer, "train", train)
    assert place.train() == (True, [1, 2, 3])


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.run.test_resume import Place

home, nth, calls, replace = Path(sys.argv[1]), int(sys.argv[2]), [], os.replace

def killing(source, target):
    calls.append(target)
    if len(calls) == nth:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = killing
Place(home, {"augment": "none"}).train()
"""


@pytest.mark.parametrize(("nth", "names"), [(3, [0]), (6, [0, 1, 2])])
def test_kill_9_while_a_state_is_written(tmp_path: Path, nth: int, names: list[int]) -> None:
    """A real one, of a process of its own, as a file is about to get its name: the 2nd checkpoint, the 3rd state."""
    home = tmp_path / "killed"
    done = python(environment(tmp_path), "-c", KILLED, str(home), str(nth))
    assert done.code == -signal.SIGKILL, done.err
    place, undisturbed = Place(home, {"augment": "none"}), Place(tmp_path / "undisturbed", {"augment": "none"})
    assert place.epochs_here == names
    assert list((home / "store" / "tmp").iterdir())  # what the kill left behind
    assert place.train() == (True, [(nth - 1) // 2 - 1, *range((nth - 1) // 2, T + 1)])
    assert undisturbed.train()[0]
    assert_same(place, undisturbed)
