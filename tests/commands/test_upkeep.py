"""Compaction while a sweep runs."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from memloc.commands import launch, store_compact, upkeep
from memloc.commands.upkeep import Upkeep
from memloc.run.events import Event
from memloc.store import Store, layout
from tests.commands.test_query import run
from tests.conftest import TINY
from tests.store.compacted import all_parts, publish, shown
from tests.waiting import LONG


def _end_of_a_part() -> Event:
    return Event("part", "0" * 16)


def _never() -> bool:
    return False


def test_a_sweep_compacts_while_it_runs(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compaction at the end is left out, so this one is of the middle. The rows are those of a sweep without it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    monkeypatch.setenv("MEMLOC_LOGS", str(tmp_path / "logs"))
    monkeypatch.setattr(store_compact, "FILES", 1)
    monkeypatch.setattr(upkeep, "EVERY", 4)
    monkeypatch.setattr(launch, "after_sweep", lambda _: None)
    where = ("--executor", "inline", "--data-dir", str(tmp_path), "--store", str(tmp_path / "store"))
    code, _, err = run(capfd, monkeypatch, "sweep", str(tmp_path / "tiny.yaml"), *where)
    assert code == 0, err
    assert "the store was compacted: " in err
    store = Store(str(tmp_path / "store"))
    assert len(store.snapshot().covered) >= 4
    rows, expected = shown(store), shown(Store(str(tiny)))
    assert rows.keys() == expected.keys()
    assert all(_timeless(rows[name]).equals(_timeless(table)) for name, table in expected.items())


def _timeless(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in table.column_names if name == "seconds"])


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with three files of a table, where a sweep compacts from two on, and looks after two commits."""
    monkeypatch.setattr(store_compact, "FILES", 2)
    monkeypatch.setattr(upkeep, "EVERY", 2)
    store = Store(str(tmp_path / "store"))
    publish(store, all_parts(3))
    return store


def test_it_begins_after_so_many_commits(many: Store) -> None:
    said: list[str] = []
    with Upkeep(many.uri, said.append, _never) as observer:
        observer(_end_of_a_part())
        for kind in ("epoch", "started", "finished"):
            observer(Event(kind, "0" * 16))  # type: ignore[arg-type]
        assert observer._process is None
        observer(_end_of_a_part())
        assert observer._process is not None
    parts = len(many.snapshot().commits)
    assert many.snapshot().loose() == []
    assert said == [f"the store was compacted: {parts} commits in {len(many.snapshot().tables())} files"]


def test_it_does_nothing_where_files_are_few(many: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_compact, "FILES", 1000)
    said: list[str] = []
    with Upkeep(many.uri, said.append, _never) as observer:
        for _ in range(2):
            observer(_end_of_a_part())
    assert (said, many.snapshot().generation) == ([], None)


def test_the_next_one_begins_when_the_last_has_ended(many: Store) -> None:
    said: list[str] = []
    with Upkeep(many.uri, said.append, _never) as observer:
        for _ in range(2):
            observer(_end_of_a_part())
        first = observer._process
        assert first is not None
        for _ in range(5):  # while it works no other one begins
            observer(_end_of_a_part())
            assert observer._process is first or first.poll() is not None
        first.wait()
        publish(many, all_parts(7)[-4 * 3 :])
        observer(_end_of_a_part())
        assert observer._process is not first
    assert len(said) == 2
    assert many.snapshot().loose() == []


@pytest.mark.parametrize("order", ["a stop", "an error"])
def test_it_ends_with_the_launch(many: Store, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an order nobody waits for it; nothing is left of it but the command's own files, which `gc` knows."""
    real = upkeep.subprocess.Popen
    monkeypatch.setattr(upkeep.subprocess, "Popen", _slow(real))
    before, said = shown(many), list[str]()
    observer = Upkeep(many.uri, said.append, lambda: order == "a stop")
    try:
        with observer:
            for _ in range(2):
                observer(_end_of_a_part())
            process = observer._process
            assert process is not None
            if order == "an error":
                raise RuntimeError("x")
    except RuntimeError:
        pass
    assert process.returncode == -signal.SIGKILL  # it was ended, and not waited for
    assert said == []
    rows = shown(Store(many.uri))
    assert all(rows[name].equals(before[name]) for name in before)


def _slow(real: Callable[..., object]) -> Callable[..., object]:
    """The process waits for a minute before it does anything."""

    def start(command: list[str], **options: object) -> object:
        python, flag, text, *rest = command
        return real([python, flag, f"import time; time.sleep(60); {text}", *rest], **options)

    return start


def test_one_that_fails_is_in_the_log_alone(many: Store, caplog: pytest.LogCaptureFixture) -> None:
    many.files.put(f"{layout.REMOVALS}/tiny/{'0' * 8}.json", b"{}")
    said: list[str] = []
    with caplog.at_level(logging.WARNING), Upkeep(many.uri, said.append, _never) as observer:
        for _ in range(2):
            observer(_end_of_a_part())
    assert said == []
    assert "compaction, exit code" in caplog.text
    assert "a removal is not complete" in caplog.text


def test_one_that_says_much_comes_to_its_end(many: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds: each part that keeps its own files is named."""
    real = upkeep.subprocess.Popen
    text = "import json; print(json.dumps({'parts': 1, 'files': 2, 'left': 'x' * 10**6}))"
    monkeypatch.setattr(upkeep.subprocess, "Popen", lambda command, **options: real([*command[:2], text], **options))
    said: list[str] = []
    with Upkeep(many.uri, said.append, _never) as observer:
        for _ in range(2):  # the second time the files of the first one are there
            observer(_end_of_a_part())
            observer(_end_of_a_part())
            assert observer._process is not None
            observer._process.wait(LONG)
            observer(Event("epoch", "0" * 16))
    assert said == ["the store was compacted: 1 commit in 2 files"] * 2


def test_one_that_cannot_start_is_in_the_log_alone(
    many: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(upkeep.subprocess, "Popen", none)
    with caplog.at_level(logging.WARNING), Upkeep(many.uri, lambda _: None, _never) as observer:
        for _ in range(2):
            observer(_end_of_a_part())
        assert observer._process is None
    assert "compaction: [Errno 11] Resource temporarily unavailable" in caplog.text
