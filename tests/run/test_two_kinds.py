"""Two drivers on two kinds of device at one trial: the bits differ, so exactly one training of the two may count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.run import trainer
from memloc.run import writer as writing
from memloc.run.pending import Work
from memloc.run.worker import Worker
from memloc.stages.training.loop import train
from memloc.store import layout
from tests.numerics import kept_numerics
from tests.run.test_resume import Place, T, loaded

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _numerics() -> Iterator[None]:
    with kept_numerics():
        yield


def on_another_kind(place: Place, patch: pytest.MonkeyPatch, work: Work) -> None:
    """Another driver computes the training on another kind of device: with other numerics, and with other bits."""
    with patch.context() as kind:
        kind.setattr(trainer, "numerics", lambda device: "another kind")
        kind.setattr(trainer, "train", lambda config, *rest: train(config.model_copy(update={"lr": 0.11}), *rest))
        assert trainer.run_training(Worker(place.store, loaded, CPU), work)


def commits_of(place: Place) -> list[str]:
    return [path for path in place.store.files.listing(layout.COMMITS) if layout.is_commit_of(path, place.trial.id)]


def hashes_here(place: Place) -> dict[int, str]:
    return {epoch: layout.sha256(place.path(epoch).read_bytes()) for epoch in place.epochs_here}


def test_the_slower_one_commits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The faster one commits while the slower one writes its last state, as through a fault of the storage."""
    place = Place(tmp_path / "two", {"augment": "none"})
    work = place.work

    def on_epoch(epoch: int, row: Any) -> None:
        if epoch == T:
            on_another_kind(place, monkeypatch, work)

    assert trainer.run_training(Worker(place.store, loaded, CPU), work, on_epoch)
    assert len(commits_of(place)) == 1
    assert dict(place.hashes()) == hashes_here(place)  # the faster one's, every one of them


def test_what_the_slower_one_writes_over_counts_as_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has the size of the committed one. Only its hash tells, which no plan looks at."""
    place = Place(tmp_path / "two", {"augment": "none"})
    work, real = place.work, writing.StateWriter._write

    def late(self: Any, epoch: Any, rows: Any) -> None:
        if epoch.epoch == 2 and not commits_of(place):
            monkeypatch.setattr(writing.StateWriter, "_write", real)
            on_another_kind(place, monkeypatch, work)
        real(self, epoch, rows)

    monkeypatch.setattr(writing.StateWriter, "_write", late)
    assert trainer.run_training(Worker(place.store, loaded, CPU), work)
    committed = dict(place.hashes())
    assert set(place.epochs_here) in ({0, 1}, {0, 1, 3})  # the last one too, if it was begun before the commit
    assert hashes_here(place) == {epoch: committed[epoch] for epoch in place.epochs_here}
    assert place.work.train == "replay"
    numerics = {named[1] for p in place.path(0).parent.glob("resume-*") if (named := layout.resume_state_of(p.name))}
    assert numerics <= {layout.sha8(b"another kind")}  # nothing goes on from the slower one's states


def test_a_committed_training_of_the_same_bits_is_taken_as_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path / "two", {"augment": "none"})
    work, told = place.work, list[int]()

    def on_epoch(epoch: int, row: Any) -> None:
        told.append(epoch)
        if epoch == 1 and not commits_of(place):
            assert trainer.run_training(Worker(place.store, loaded, CPU), work)

    assert trainer.run_training(Worker(place.store, loaded, CPU), work, on_epoch)
    assert told == [0, 1]  # it stops where it finds the commit
    assert dict(place.hashes()) == hashes_here(place)
    assert place.epochs_here == list(range(T + 1))


def test_many_checkpoints_that_were_written_over_cost_one_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: Callable[..., list[int]]
) -> None:
    """The other driver was killed half-way, so nobody has removed what it wrote."""
    place = Place(tmp_path / "over", {"augment": "none"}, {"rewind": {"epochs": [0, 1, 2, 3]}})
    place.train()
    before = {epoch: place.path(epoch).read_bytes() for epoch in (0, 1, 2)}
    for epoch, content in before.items():
        place.path(epoch).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    trained = counting("memloc.run.replay.train")
    place.sweep()
    assert trained == [1]
    assert {epoch: place.path(epoch).read_bytes() for epoch in before} == before


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """name -> how often the function of this name has been called, as the only element of a list."""

    def count(name: str) -> list[int]:
        calls = [0]

        def counted(*arguments: Any) -> Any:
            calls[0] += 1
            return train(*arguments)

        monkeypatch.setattr(name, counted)
        return calls

    return count
