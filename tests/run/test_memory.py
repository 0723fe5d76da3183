"""A device whose memory does not hold all parts of a task: fewer together, the same rows, and nothing failed."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from memloc import sweep
from memloc.data import load
from memloc.models import recomputation
from memloc.run import attempts, memory, parts
from memloc.run.attempts import REMEDY
from memloc.run.events import Event, Outcome
from memloc.run.pending import Work, pending
from memloc.run.planner import build_plan
from memloc.run.ray import workers
from memloc.run.worker import Worker
from memloc.stages import REGISTRY, STAGES
from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs
from memloc.store import Store, layout
from tests.conftest import carry_out
from tests.numerics import kept_numerics
from tests.run.moody import RAN_OUT, moody, run_moody
from tests.run.programs import assert_same, contents

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 2, batch_size: 32}
blocks:
  one:
    stages: {rewind: {epochs: [0, 1, 2]}, retrain: {epochs: 2}, gradients: {at: checkpoint}}
"""
REWIND = SWEEP.replace(", retrain: {epochs: 2}, gradients: {at: checkpoint}", "")
PARTS = {"rewind": 3, "retrain": 9, "gradients": 3}


def works(folder: Path, text: str = SWEEP) -> list[Work]:
    path = folder / "one.yaml"
    path.write_text(text)
    plan = build_plan(loaded := sweep.load(path, REGISTRY), loaded.entries, folder)
    store = Store(str(folder / "store"))
    return pending(plan, store, store.snapshot(), "all")


def execute(folder: Path, text: str = SWEEP) -> Outcome:
    folder.mkdir(exist_ok=True)
    return carry_out(works(folder, text), Store(str(folder / "store")), folder, device=torch.device("cpu"))


Asked = list[tuple[str, int]]  # (stage, how many parts together), in order
RunsOut = Callable[[str, Sequence[Part]], bool]


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunsOut], Asked]:
    """Makes the memory run out where a function says so; what has been asked for is noted."""

    def patch(runs_out: RunsOut) -> Asked:
        asked: Asked = []
        for name in PARTS:
            original = type(STAGES[name]).run_together

            def limited(
                self: Any, config: Any, inputs: Inputs, parts: Sequence[Part], original: Any = original
            ) -> Iterator[Tables]:
                asked.append((self.name, len(parts)))
                if self.lockstep and runs_out(self.name, parts):
                    raise torch.OutOfMemoryError("CUDA out of memory")
                for part, rows in zip(parts, original(self, config, inputs, parts), strict=True):
                    if not self.lockstep and runs_out(self.name, [part]):  # they take turns: the first ones succeed
                        raise torch.OutOfMemoryError("CUDA out of memory")
                    yield rows

            monkeypatch.setattr(type(STAGES[name]), "run_together", limited)
        return asked

    return patch


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roomy")
    assert execute(folder).failures == {}
    return folder / "store"


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        (4, {"rewind": [3], "retrain": [9, 4, 4, 1], "gradients": [3]}),
        (1, {"rewind": [3, 1, 1, 1], "retrain": [9, 4, 2, *[1] * 9], "gradients": [3]}),
    ],
)
def test_fewer_together_give_the_same_rows(
    tmp_path: Path, roomy: Path, limit: Callable[[RunsOut], Asked], room: int, expected: dict[str, list[int]]
) -> None:
    asked = limit(lambda stage, parts: len(parts) > room)
    assert execute(tmp_path).failures == {}
    for stage, counts in expected.items():
        assert [count for name, count in asked if name == stage] == counts, stage
    assert_same(tmp_path / "store", roomy)
    assert not Store(str(tmp_path / "store")).files.listing(layout.FAILURES)


@pytest.mark.parametrize(("stage", "key", "value"), [("rewind", "epoch", 1), ("gradients", "epoch", 1)])
def test_a_part_that_does_not_fit_alone_is_a_failure_and_the_others_are_there(
    tmp_path: Path, roomy: Path, limit: Callable[[RunsOut], Asked], stage: str, key: str, value: int
) -> None:
    limit(lambda name, parts: name == stage and any(part[key] == value for part in parts))
    (error,) = execute(tmp_path).failures.values()
    assert error == f"OutOfMemoryError: CUDA out of memory (it was alone on the CPU; {REMEDY})"
    store = Store(str(tmp_path / "store"))
    (record,) = store.files.listing(layout.FAILURES)
    assert b"in limited" in store.files.get(record)
    done = [c.part for c in store.snapshot().commits.values() if c.stage == stage]
    assert sorted(part[key] for part in done) == [0, 2]
    assert contents(tmp_path / "store")["retrain"].equals(contents(roomy)["retrain"])


def test_a_training_that_runs_out_of_memory_begins_again_with_more_room(tmp_path: Path) -> None:
    """In one process there is nothing beside it, so at the second attempt its activations are computed again.

    The rows and checkpoints are the same. Without anything to gain, it has failed.
    """
    moods = moody(tmp_path)
    roomy = run_moody(tmp_path, "roomy", moods)
    assert roomy.failures == {}
    moods.be("short")
    told: list[Event] = []
    assert run_moody(tmp_path, "short", moods, told.append).failures == {}
    again = [(event.stage, event.error) for event in told if event.kind == "again"]
    assert again == [("train", RAN_OUT), ("gradients", RAN_OUT)]
    assert_same(tmp_path / "short", tmp_path / "roomy")


def test_a_training_that_fits_nowhere_fails_with_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[bool] = []

    def runs_out(*_: object) -> bool:
        rooms.append(recomputation.recomputing.is_on())
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(attempts, "run_training", runs_out)
    monkeypatch.setattr(attempts, "card_in_words", lambda device: "NVIDIA A100 (40.0 GB, 38.0 GB of it free before)")
    outcome = run_moody(tmp_path, "store", moody(tmp_path))
    assert rooms == [False, True]
    (line,) = outcome.failures.values()
    assert line == (
        "AcceleratorError: CUDA error: out of memory (it was alone on NVIDIA A100 (40.0 GB, 38.0 GB of it free before); "
        "nothing that saves memory without changing results is left to try; take a smaller batch_size or width, "
        "precision=bf16, or a GPU with more memory)"
    )


def test_the_memory_of_a_card_is_free_after_every_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's task ends with what PyTorch has cached given back: another process on the card finds it."""
    done: list[str] = []
    worker = SimpleNamespace(device=torch.device("cuda"))
    monkeypatch.setattr(workers, "_worker", lambda job: worker)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty"))
    monkeypatch.setattr(workers, "own_place", lambda: None)
    job: Any = SimpleNamespace()
    with workers._working(job) as given:
        assert given is worker
        done.append("task")
    assert done == ["task", "empty"]


def test_other_errors_are_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried together once, then one by one: halving is for the memory alone."""
    asked: list[int] = []

    def broken(self: Any, config: Any, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
        asked.append(len(parts))
        raise RuntimeError("no luck")

    monkeypatch.setattr(type(STAGES["rewind"]), "run_together", broken)
    assert set(execute(tmp_path, REWIND).failures.values()) == {"RuntimeError: no luck"}
    assert asked == [3, 1, 1, 1]


def test_what_a_failed_attempt_held_is_free_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors in its frames would be missing for every part that is tried after it."""
    held: list[weakref.ref[Tensor]] = []
    seen: list[int] = []

    def broken(self: Any, config: Any, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
        seen.append(sum(ref() is not None for ref in held))
        activations = torch.zeros(8)
        cycle: list[Any] = [activations]  # as a network's hooks make them: only a collection of garbage frees it
        cycle.append(cycle)
        held.append(weakref.ref(activations))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(STAGES["rewind"]), "run_together", broken)
    assert len(execute(tmp_path, REWIND).failures) == 3
    assert len(seen) >= 4
    assert set(seen) == {0}


def test_how_many_at_first_follows_from_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [memory.parts_together(gpu, 9, each) for each in (0, 1, 100, 250, 499, 500, 501, 10**9)] == [
        9, 9, 5, 2, 1, 1, 1, 1,
    ]  # fmt: skip
    assert memory.parts_together(gpu, 3, 100) == 3
    assert memory.parts_together(cpu, 9, 10**9) == 9


def test_what_is_free_on_a_gpu_is_what_nobody_has_and_what_torch_has_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert memory.free_bytes(torch.device("cuda")) == 1000 + 700 - 300


def test_that_many_run_together(tmp_path: Path, roomy: Path, limit: Callable[[RunsOut], Asked], monkeypatch: Any) -> None:
    """As on a GPU with room for two and a half parts beside the working memory."""
    asked = limit(lambda stage, parts: False)
    monkeypatch.setattr("memloc.run.parts.parts_together", lambda device, wanted, each: min(wanted, 2 if each else wanted))
    assert execute(tmp_path).failures == {}
    assert [count for name, count in asked if name == "retrain"] == [2, 2, 2, 2, 1]
    assert [count for name, count in asked if name == "rewind"] == [2, 1]
    assert [count for name, count in asked if name == "gradients"] == [3]
    assert_same(tmp_path / "store", roomy)


@pytest.mark.cuda
@pytest.mark.parametrize("stage", ["rewind", "retrain"])
@kept_numerics()
def test_a_further_part_takes_no_more_than_it_says(tmp_path: Path, stage: str) -> None:
    device = torch.device("cuda")
    (work,) = works(tmp_path, SWEEP.replace("0.0625", "0.5"))  # tensors large beside the allocator's rounding
    worker = Worker(Store(str(tmp_path / "store")), lambda name: load(name, tmp_path), device)
    assert carry_out([work], worker.store, tmp_path, device=device).failures == {}
    items = [item for item in work.parts if item[0].stage == stage]
    analysis, inputs = items[0][0], worker.inputs(work.trial)
    peaks = []
    for count in (1, 3):
        for _ in range(2):  # once to warm up
            torch.cuda.reset_peak_memory_stats()
            list(analysis.kind.run_together(analysis.config, inputs, [part for _, _, part in items[:count]]))
            peak = torch.cuda.max_memory_allocated()
        peaks.append(peak)
    assert peaks[1] - peaks[0] <= 2 * analysis.kind.memory(analysis.config, work.trial.size)


def test_what_a_gpu_still_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 bytes are free, and PyTorch holds 50, of which 20 are used."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert memory.free_bytes(torch.device("cuda")) == 130


@pytest.mark.parametrize(("buffers", "expected"), [("final", "cccCCC"), ("recomputed", "cCcCcC")])
def test_parts_that_share_work_are_committed_together_and_others_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffers: str, expected: str
) -> None:
    """c: computed, C: committed. What is lost with a process is what is not committed."""
    seen: list[str] = []
    compute, commit = type(STAGES["rewind"]).run_together, parts._Computation._commit

    def computed(*arguments: Any) -> Iterator[Tables]:
        for rows in compute(*arguments):
            seen.append("c")
            yield rows

    def committed(*arguments: Any) -> None:
        commit(*arguments)
        seen.append("C")

    monkeypatch.setattr(type(STAGES["rewind"]), "run_together", computed)
    monkeypatch.setattr(parts._Computation, "_commit", committed)
    assert not execute(tmp_path / "run", REWIND.replace("[0, 1, 2]", f"[0, 1, 2], buffers: {buffers}")).failures
    assert "".join(seen) == expected
