"""`memloc store compact`, the store commands on what it has made, and a sweep that compacts its store by itself."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from memloc.analysis.reader import known_tables
from memloc.commands import store_compact
from memloc.errors import StorageError, StoreError
from memloc.store import Store, checkpoints, compaction, layout
from tests.commands.test_query import run
from tests.conftest import TINY
from tests.store.compacted import all_parts, publish, shown
from tests.store.writing import PARTS, commit_of, rows_of, with_training


@pytest.fixture
def store(tiny: Path, tmp_path: Path) -> Store:
    return Store(str(shutil.copytree(tiny, tmp_path / "store")))


def test_from_small_files_to_none(store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def memloc(*arguments: str) -> str:
        code, out, err = run(capfd, monkeypatch, *arguments, "--store", store.uri)
        assert (code, err) == (0, "")
        return out

    parts, before = len(store.snapshot().commits), shown(store)
    tables = len(store.snapshot().tables())
    out = memloc("store", "compact")
    said = f"{store.uri}: generation 1 has {parts} commits in {tables} files; `.*` removes the small files later\n"
    assert out.startswith(said.split("`")[0])
    assert out.endswith(said.split("`")[2])
    assert memloc("store", "compact") == f"{store.uri}: nothing to merge\n"
    assert memloc("store", "compact", "--json") == "null\n"
    content = json.loads(memloc("store", "ls", "--json"))
    assert content["generation"] == {"generation": 1, "commits": parts, "files": tables, "bytes": pytest.approx(1, abs=1e9)}
    assert f"generation 1: {parts} commits in {tables} files (" in memloc("store", "ls")
    then = time.time() - 10 * 86400
    for path in store.files.listing(""):
        os.utime(Path(store.uri, path), (then, then))
    small = len(store.files.listing(layout.COMMITS)) + len(store.files.listing(layout.DATA))
    kinds = json.loads(memloc("store", "gc", "--json"))["kinds"]
    assert kinds["small files that a generation has the rows of"]["number"] == small
    assert store.files.listing(layout.COMMITS) == store.files.listing(layout.DATA) == {}
    assert " checked, all as committed" in memloc("store", "verify")
    rows = shown(Store(store.uri))
    assert all(rows[name].equals(before[name]) for name in before)
    assert "done" in memloc("trials")
    out = memloc("store", "rm", "tiny", "--yes")
    assert (
        f"parts in a generation +{parts}" in " +".join(out.split("  ")).replace(" + +", " +")
        or "parts in a generation" in out
    )
    assert f", and {parts} parts from the generation\n" in out
    assert all(rows.num_rows == 0 for rows in shown(Store(store.uri)).values())
    assert [path for path in store.files.listing("") if path.startswith(("data", "commits", "generations", "sweeps"))] == []


def test_a_part_that_keeps_its_files_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path / "store"))
    publish(store, all_parts(1))
    path = min(store.files.listing(f"{layout.DATA}/predictions"))
    store.files.put(path, b"x")
    monkeypatch.setattr("memloc.store.opening.check_existing", lambda *_: None)
    code, out, err = run(capfd, monkeypatch, "store", "compact", "--store", store.uri)
    assert code == 0
    assert "generation 1 has 4 commits in" in out
    assert f"part {path.rpartition('/')[2][:16]} keeps its own files: " in err
    assert f"{path} has 1 bytes" in err


def test_a_sweep_compacts_when_a_table_has_many_files(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_compact.after_sweep(store)
    assert store.snapshot().generation is None
    monkeypatch.setattr(store_compact, "FILES", 2)
    store_compact.after_sweep(store)
    assert capfd.readouterr().err == "memloc: table rewind has 3 files; the store is compacted\n"
    assert store.snapshot().loose() == []
    store_compact.after_sweep(store)
    assert capfd.readouterr().err == ""


def test_the_command_compacts_at_its_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep itself, not only the function: what it has just written is merged, and the summary reads it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setenv("MEMLOC_LOGS", str(tmp_path / "logs"))
    where = ("--executor", "inline", "--data-dir", str(tmp_path), "--store", str(tmp_path / "store"))
    monkeypatch.setattr(store_compact, "FILES", 2)
    code, out, err = run(capfd, monkeypatch, "sweep", str(tmp_path / "tiny.yaml"), *where)
    assert code == 0, err
    assert "Next:" in out
    assert "memloc: table rewind has 3 files; the store is compacted\n" in err
    snapshot = Store(str(tmp_path / "store")).snapshot()
    assert snapshot.loose() == []
    assert len(snapshot.covered) == 2 + 5  # trainings and parts


def test_a_large_store_is_not_written_anew_for_a_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty parts are covered: with a tenth as the share, three more are too few, and four are enough."""
    monkeypatch.setattr(store_compact, "FILES", 2)
    store = Store(str(tmp_path))
    publish(store, all_parts(9)[:30])
    compaction.compact(store.files)
    publish(store, all_parts(9)[30:33])
    assert store_compact.crowded(store.snapshot(), 2) is None
    publish(store, all_parts(9)[33:34])
    assert store_compact.crowded(store.snapshot(), 2) is not None


def test_files_that_are_never_merged_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that made networks keep their files. Else every sweep would say that it compacts the store."""
    monkeypatch.setattr(store_compact, "FILES", 2)
    store = with_training(Store(str(tmp_path)))
    for nth in range(PARTS):
        part = commit_of(0, nth, 1.0)
        made = (checkpoints.entry(part.id, 2, b"weights"),)
        store.publish(replace(part, checkpoints=made), rows_of(0, nth), known_tables())
    assert len(store.snapshot().loose()) == 1 + PARTS
    assert store_compact.crowded(store.snapshot(), 2) is None
    assert compaction.compact(store.files).parts == 1  # type: ignore[union-attr]
    assert compaction.compact(store.files) is None


def test_a_compaction_that_fails_does_not_end_the_sweep(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise StoreError("store x: another compaction was faster; nothing was changed")

    monkeypatch.setattr(store_compact, "FILES", 2)
    monkeypatch.setattr(compaction, "compact", fails)
    store_compact.after_sweep(store)
    assert capfd.readouterr().err.splitlines()[1:] == [
        "memloc: the store was not compacted: store x: another compaction was faster; nothing was changed"
    ]


def test_a_storage_that_fails_after_the_sweep_does_not_end_it(
    store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise StorageError("store x: commits cannot be listed: no route to host")

    monkeypatch.setattr(store, "snapshot", fails)
    store_compact.after_sweep(store)
    assert (
        capfd.readouterr().err
        == "memloc: the store was not compacted: store x: commits cannot be listed: no route to host\n"
    )
