"""`--cuda-graphs`: it reaches the trainings of a sweep, changes no byte of a store, and is refused without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.errors import UsageError
from memloc.models.recomputation import is_recomputing, recomputing
from memloc.run import execution, trainer
from memloc.run.attempts import attempt_training
from memloc.run.events import Room
from memloc.run.pending import pending
from memloc.run.placement import Resources, check_capacity
from memloc.run.worker import Worker
from memloc.stages.training.graphed import Recorded, graphed_steps
from memloc.store import Snapshot, Store
from tests.commands.test_query import run
from tests.conftest import planned

SWEEP = """
about: A training that is replayed, and one whose steps are plain.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.1, epochs: 2, batch_size: 20}
blocks:
  one: {stages: {second_split: {}}}
  half: {set: {precision: fp16, epochs: 1}}
"""


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A word for each step that is repeated from fixed places."""
    seen: list[str] = []
    repeat = Recorded.repeat
    monkeypatch.setattr(Recorded, "repeat", lambda self: seen.append("repeat") or repeat(self))
    return seen


def test_a_sweep_with_graphs_writes_the_same_bytes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, replayed: list[str]
) -> None:
    """By their twin: the machine has a card as far as the check looks, and trains on its CPU."""
    (tmp_path / "graphs.yaml").write_text(SWEEP)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    sums, counts = [], []
    for more in ((), ("--cuda-graphs",)):
        store = str(tmp_path / f"store{len(more)}")
        code, _, err = run(
            capfd, monkeypatch, "sweep", str(tmp_path / "graphs.yaml"), "--executor", "inline", "--store", store, *more
        )
        assert code == 0, err
        noted = [line for line in err.splitlines() if line.startswith("memloc: note: --cuda-graphs")]
        assert (
            noted
            == ["memloc: note: --cuda-graphs: plain steps in 1 of 2 trainings, by precision=fp16 or compile"][: len(more)]
        )
        commits = Store(store).snapshot().commits.values()
        sums.append({(c.id, file.table, file.sha256) for c in commits for file in c.files})
        sums[-1] |= {(c.id, str(e.epoch), e.sha256) for c in commits for e in c.checkpoints}
        counts.append(len(replayed))
    assert without_times(sums[0]) == without_times(sums[1]) != set()
    assert counts[0] == 0
    assert counts[1] > 6  # of three steps in two epochs, and those of second_split


def without_times(sums: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Table `epochs` has seconds."""
    return {one for one in sums if one[1] != "epochs"}


def test_where_memory_has_run_out_steps_are_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph holds memory from step to step. Activation checkpointing that was planned goes with it."""
    store = Store(str(tmp_path / "store"))
    works = pending(planned(tmp_path, SWEEP), store, Snapshot({}, {}, []), "all")
    work = works[0]
    work.trial = replace(work.trial, graphed=True, recompute=frozenset({"train"}))
    seen = []

    def runs(*_: Any) -> bool:
        seen.append((is_recomputing(), graphed_steps.is_on()))
        return True

    monkeypatch.setattr(trainer, "_run_training", runs)
    worker = Worker(store, lambda source: pytest.fail("nothing is read"), torch.device("cpu"))
    for room in (Room.SHARE, Room.MOST):
        assert attempt_training(worker, work, room=room).finished
    assert seen == [(True, True), (True, False)]
    assert not graphed_steps.is_on()
    with recomputing(), execution.as_planned(work.trial, "evaluate"):
        assert (is_recomputing(), graphed_steps.is_on()) == (True, False)
    with execution.as_planned(work.trial, "evaluate"):
        assert (is_recomputing(), graphed_steps.is_on()) == (False, True)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--device", "cpu"), "--cuda-graphs: --device cpu leaves the GPUs alone, and a CPU has no graphs; leave one of"),
        (("--gpus", "0"), "--cuda-graphs: --gpus 0 leaves the GPUs alone, and a CPU has no graphs; leave one of"),
        ((), "--cuda-graphs: torch sees no GPU on this machine; leave it out"),
    ],
)
def test_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], line: str
) -> None:
    (tmp_path / "graphs.yaml").write_text(SWEEP)
    where = ("sweep", str(tmp_path / "graphs.yaml"), "--cuda-graphs", *options, "--store", str(tmp_path / "store"))
    code, out, err = run(capfd, monkeypatch, *where)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"memloc: {line}")
    assert not (tmp_path / "store").exists()
    if not options:  # a dry run forecasts for cards that are not here
        assert run(capfd, monkeypatch, *where, "--dry-run")[0] == 0


def test_a_cluster_without_cards_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    works = pending(planned(tmp_path, SWEEP), store, Snapshot({}, {}, []), "all")
    works[0].trial = replace(works[0].trial, graphed=True)
    check_capacity(works, [{"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}], Resources("head:1"))
    for nodes, where in (([{"CPU": 2.0}], Resources("head:1")), ([{"GPU": 1.0}], Resources("head:1", device="cpu"))):
        with pytest.raises(UsageError, match="--cuda-graphs: no node has a GPU; leave it out"):
            check_capacity(works, nodes, where)
