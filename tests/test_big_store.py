"""A store that the benchmark makes is one that memloc itself might have made."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import big_store, scale
from benchmarks.big_store import EPOCHS, PER_TRAINING, REPEATS, make
from memloc import stages
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.sweep_status import sweep_status
from memloc.run.pending import pending
from memloc.store import Store
from memloc.store.verify import verify

COMMITS, FLIP_ROWS = 70, 840  # seven trainings; the first setting has two of them


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("big") / "store"
    make(folder, COMMITS, FLIP_ROWS)
    return folder


def test_nothing_is_left_to_do(made: Path) -> None:
    """Real ids, whole files, a record that names every part: planning, status and verify agree with the real thing."""
    store = Store(str(made))
    snapshot = store.snapshot()
    assert len(snapshot.commits) == COMMITS
    assert len(snapshot.trainings()) == COMMITS // PER_TRAINING
    plan = big_store.planned(made, COMMITS // PER_TRAINING, FLIP_ROWS)
    works = pending(plan, store, snapshot, None, set_aside=False)
    assert [(w.train, w.parts) for w in works] == [("done", [])] * len(plan.trials)
    assert sweep_status(store, "big")["counts"] == {"done": 7, "running": 0, "pending": 0, "failed": 0}
    assert verify(store.files)[0] == []


def test_tables_are_full(made: Path) -> None:
    store = Store(str(made))
    rows = {name: read_table(store, name).num_rows for name in stages.tables()}
    searched = FLIP_ROWS // (COMMITS // PER_TRAINING) // REPEATS
    assert rows["flips"] == FLIP_ROWS == 7 * REPEATS * searched
    assert rows["epochs"] == 7 * EPOCHS
    assert rows["examples"] == rows["predictions"] == 7 * 200
    assert all(rows[name] for name in ("gradients", "rewind", "evaluation", "detection", "detection_pairs"))
    known = run_sql(store, "SELECT count(*) AS n FROM flips JOIN examples USING (trial, example, noisy)").to_pylist()
    assert known == [{"n": FLIP_ROWS}]


def test_the_same_call_makes_the_same_bytes(made: Path, tmp_path: Path) -> None:
    make(tmp_path / "again", COMMITS, FLIP_ROWS)
    assert content(tmp_path / "again") == content(made)


def test_costs_are_those_of_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    """A process that holds 200 MB and computes for half a second; this process holds more, which is not counted."""
    here = b"x" * 400_000_000
    work = "import time; held = b'x' * 200_000_000\nwhile time.process_time() < 0.5: pass"
    code, seconds, peak, wall = scale.measured([sys.executable, "-c", work])
    del here
    assert (code, 0.5 <= seconds < 1.5, wall >= 0.5) == (0, True, True)
    assert 200e6 < peak < 300e6
    assert scale.measured([sys.executable, "-c", "raise SystemExit(3)"])[0] == 3
    with pytest.raises(RuntimeError, match="status: exit code 2"):
        scale.cost("status", ["nonsense"], "store", 1)
    assert "No such command" in capfd.readouterr().err


def test_the_table_of_costs(made: Path, tmp_path: Path) -> None:
    found = scale.cost("store ls", scale.commands(made, str(made), tmp_path)["store ls"], str(made), COMMITS)
    assert scale.table([found]).splitlines()[2].split()[:4] == [str(made), str(COMMITS), "store", "ls"]


def test_a_copy_in_another_storage_is_the_store(made: Path, tmp_path: Path) -> None:
    uri = scale.copied(made, f"file://{tmp_path}/there")
    copy = tmp_path / "there" / made.name
    assert uri == f"file://{copy}"
    assert content(copy) == content(made)
    a_commit = next((copy / "commits").rglob("*.json"))
    a_commit.write_bytes(b"left alone")
    assert scale.copied(made, f"file://{tmp_path}/there") == uri
    assert a_commit.read_bytes() == b"left alone"
