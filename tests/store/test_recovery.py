"""What a sweep does about damage that test_verify.py leaves out, and two workers at one training."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from memloc.analysis.reader import known_tables
from memloc.analysis.sweep_status import sweep_status
from memloc.data import load
from memloc.errors import MemlocWarning, UsageError
from memloc.run.events import Event
from memloc.run.pending import Work, pending
from memloc.run.plan import Plan
from memloc.run.trainer import run_training
from memloc.run.worker import Worker
from memloc.store import Files, Store, checkpoints, heartbeats, layout, records
from memloc.store.verify import verify
from tests.conftest import TINY, carry_out, run_inline
from tests.store.test_verify import contents, flip


def left(store: Store, plan: Plan) -> list[Work]:
    return [w for w in pending(plan, store, store.snapshot(), "all") if w.anything]


def run(store: Store, plan: Plan, folder: Path) -> tuple[list[Event], dict[str, str]]:
    events: list[Event] = []
    outcome = carry_out(left(store, plan), store, folder, events.append)
    return events, outcome.failures


def test_a_damaged_sweep_record_is_written_again(store: Store, plan: Plan) -> None:
    """Meanwhile status answers for the other sweeps, and nothing is computed again."""
    records.write_sweep(store.files, "other", plan.record()[:1])
    path = next(p for p in store.files.listing(layout.SWEEPS) if layout.sweep_of(p) == "tiny")
    content = store.files.get(path)
    flip(store, path)
    assert [r.name for r in records.read_sweeps(store.files)] == ["other"]
    left_out = (
        rf"^store .*: left out: 1 damaged sweep record \({re.escape(path)}\); launch the sweep again to write it anew$"
    )
    with pytest.warns(MemlocWarning, match=left_out):
        assert sweep_status(store, None)["counts"]["done"] == 1
    assert sweep_status(store, None)["counts"]["done"] == 1  # it is said once
    with pytest.raises(UsageError, match=r"tiny: its record in store .* is damaged; launch the sweep again"):
        sweep_status(store, "tiny")
    for found in (True, False):  # with and without verify
        if found:
            assert [f.path for f in verify(store.files)[0]] == [path]
            assert store.files.find(layout.quarantine(path)) is not None
        else:
            flip(store, path)
        assert left(store, plan) == []
        records.write_sweep(store.files, "tiny", plan.record())
        assert store.files.get(path) == content
        assert sweep_status(store, "tiny")["counts"]["done"] == 2
    assert verify(store.files)[0] == []


def test_a_lost_table_of_a_training_costs_no_epoch(store: Store, plan: Plan, tmp_path: Path) -> None:
    """The newest state is of the last epoch: what it knows is committed again, `seconds` too."""
    before = contents(store)
    trial = plan.trials[1].id
    commit = store.commit(trial)
    assert commit is not None
    path = next(f.path for f in commit.files if f.table == "epochs")
    store.files.delete(path)
    (finding,) = verify(store.files)[0]
    assert (finding.path, finding.problem) == (path, "is missing")
    assert trial in finding.consequence
    events, failures = run(Store(store.uri), plan, tmp_path)
    assert failures == {}
    assert [(e.kind, e.trial, e.epoch) for e in events if e.kind in ("epoch", "part")] == [("epoch", trial, 2)]
    after = store.commit(trial)
    assert after is not None
    assert after.files == commit.files
    assert after.checkpoints == commit.checkpoints
    assert all(contents(store)[name].equals(before[name]) for name in known_tables())


def test_a_part_does_not_use_a_damaged_checkpoint(store: Store, plan: Plan, tmp_path: Path) -> None:
    """The plan looks at sizes; the hash is checked when it is read. Then the checkpoint is made anew, in the same run."""
    before = contents(store)
    trial = plan.trials[0]
    analysis = next(a for a in trial.analyses if a.stage == "evaluate")
    snapshot = store.snapshot()
    store.files.delete(snapshot.paths[analysis.part_ids[0]])
    path = layout.checkpoint(trial.id, 2)
    content = store.files.get(path)
    flip(store, path)
    assert store.files.get(path) != content
    assert run(Store(store.uri), plan, tmp_path)[1] == {}
    assert store.files.get(path) == content
    assert verify(store.files)[0] == []
    assert all(contents(store)[name].equals(before[name]) for name in known_tables())


def test_a_pruned_checkpoint_is_not_missed_and_a_lost_one_is(store: Store, plan: Plan) -> None:
    trial = plan.trials[0].id
    commit = store.commit(trial)
    assert commit is not None
    checkpoints.prune(store.files, trial, commit.checkpoints, keep={0, 2})
    assert verify(store.files)[0] == []
    store.files.delete(layout.checkpoint(trial, 0))
    assert [f.path for f in verify(store.files)[0]] == [layout.checkpoint(trial, 0)]
    checkpoints.prune(store.files, trial, commit.checkpoints, keep={0, 2})  # must not take the lost one for pruned
    assert [f.path for f in verify(store.files)[0]] == [layout.checkpoint(trial, 0)]


def test_a_name_says_which_checkpoints_were_pruned(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the name of before is read, and goes with the next pruning; two files after a kill mean both."""
    trial = plan.trials[0].id
    commit = store.commit(trial)
    assert commit is not None
    store.files.put(layout.pruned(trial), b"[1]")
    assert checkpoints.read_pruned(store.files, trial) == {1}
    store.files.delete(layout.checkpoint(trial, 1))
    checkpoints.prune(store.files, trial, commit.checkpoints, keep={2})
    (record,) = filter(layout.is_pruned, store.files.listing(layout.CHECKPOINTS))
    assert store.files.get(record) == b"[0, 1]"
    assert record == layout.pruned(trial, b"[0, 1]")
    with monkeypatch.context() as nobody:
        nobody.setattr(Files, "get", lambda *_: pytest.fail("it is read"))
        assert checkpoints.read_pruned(store.files, trial, [record], missing={1, 0}) == {0, 1}
    assert checkpoints.read_pruned(store.files, trial, [record], missing={0}) == {0, 1}
    store.files.put(layout.pruned(trial, b"[2]"), b"[2]")
    assert checkpoints.read_pruned(store.files, trial) == {0, 1, 2}
    works = pending(plan, store, store.snapshot(), "last")
    assert [work.prune for work in works if work.trial.id == trial] == [True]


def test_a_broken_record_beside_whole_ones(store: Store, plan: Plan) -> None:
    """Failures and heartbeats are for status alone: a damaged one is named and passed over."""
    trial = plan.trials[0].id
    records.record_failure(store.files, records.Failure("1" * 16, trial, "rewind", "ValueError: x", "ValueError: x"))
    (failure,) = store.files.listing(layout.FAILURES)
    heartbeats.write(store.files, "run", trial, {"stage": "train", "epoch": 1})
    (heartbeat,) = store.files.listing(layout.HEARTBEATS)
    flip(store, failure)
    store.files.put(heartbeat, store.files.get(heartbeat)[:-3])
    with pytest.warns(MemlocWarning) as warned:
        found = sweep_status(store, None)
    assert (found["failures"], found["counts"]["running"]) == ([], 0)
    assert [path in str(w.message) for path, w in zip((failure, heartbeat), warned, strict=True)] == [True, True]
    assert sweep_status(store, None)["failures"] == []  # said once


def test_of_two_workers_at_one_training_the_second_stops_writing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was cut off goes on beside its successor, until it sees the commit."""
    finished = Store(str(tmp_path / "finished"))
    plan = run_inline(tmp_path, TINY, finished)
    work = left(store, plan)[0]

    def worker() -> Worker:
        return Worker(Store(store.uri), lambda name: load(name, tmp_path), torch.device("cpu"))

    written: list[str] = []
    put = Files.put

    def noting(files: Files, path: str, data: bytes) -> None:
        written.append(path)
        put(files, path, data)

    def successor(epoch: int, row: object) -> None:
        if epoch == 1:
            assert run_training(worker(), work)
            monkeypatch.setattr(Files, "put", noting)

    assert run_training(worker(), work, on_epoch=successor)
    assert written == []
    assert len(store.files.listing(layout.COMMITS)) == 1
    assert verify(store.files)[0] == []
