"""`memloc store rm`: says what goes, asks, refuses while a run is at work, and goes on after an interruption."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from memloc.commands import store_rm
from memloc.run.pulse import new_run
from memloc.store import Files, Store, future_dates, heartbeats, layout, records, run_layout
from tests.commands.test_query import run
from tests.waiting import LONG

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def store(tmp_path: Path, tiny: Path) -> Store:
    return Store(str(shutil.copytree(tiny, tmp_path / "store")))


def test_it_says_what_goes_and_needs_yes(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    (record,) = records.read_sweeps(store.files)
    records.write_sweep(store.files, "other", [{**record.trials[0], "analyses": []}])
    before = store.files.listing("")
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--store", store.uri)
    head, *table = out.splitlines()
    assert re.fullmatch(rf"tiny@{record.sha} in {store.uri}: \d+ KB that no other sweep needs", head)
    told = {found[1]: int(found[2]) for line in table if (found := re.fullmatch(r"(\S.*\S) +(\d+)  [\d.]+ K?B", line))}
    assert told == {
        "records of the sweep": 1,
        "commits of trainings": 1,
        "commits of analysis parts": 5,
        "data files": 3 + 3 + 2 + 2,
        "checkpoints and states": 4,
    }
    (other,) = records.read_sweep(store.files, "other")
    assert table[-1] == f"1 training of it also in other@{other.sha}: kept, with what is recorded there"
    assert (code, store.files.listing("")) == (2, before)
    assert err == "memloc: store rm: nothing was removed, since nobody can be asked here; --yes removes all of this\n"
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)
    assert (code, err) == (0, "")
    assert re.search(r"\nremoved 21 files \(\d+ KB\)\n$", out)
    assert [r.name for r in records.read_sweeps(store.files)] == ["other"]
    assert list(Store(store.uri).snapshot().commits) == [record.trials[0]["trial"]]


@pytest.mark.parametrize("answer", [False, True])
def test_on_a_terminal_it_asks(store: Store, capfd: Capture, monkeypatch: Patch, answer: bool) -> None:
    asked: list[str] = []
    monkeypatch.setattr(store_rm, "_can_ask", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: (asked.append(text), answer)[1])
    code, out, _ = run(capfd, monkeypatch, "store", "rm", "tiny", "--store", store.uri)
    assert (code, asked) == (0, ["Remove all of this?"])
    assert ("nothing was removed" in out, store.files.listing("") == {}) == (not answer, answer)


@pytest.mark.parametrize("key", [EOFError, KeyboardInterrupt], ids=["Ctrl-D", "Ctrl-C"])
def test_no_answer_is_no(store: Store, capfd: Capture, monkeypatch: Patch, key: type[BaseException]) -> None:
    class Terminal(io.StringIO):
        def readline(self, *_: object) -> str:
            raise key

    before = store.files.listing("")
    monkeypatch.setattr(store_rm, "_can_ask", lambda: True)
    monkeypatch.setattr(sys, "stdin", Terminal())
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--store", store.uri)
    assert (code, err, store.files.listing("")) == (130, "", before)
    assert out.endswith("Remove all of this? [y/N]: \nnothing was removed\n")


def test_a_run_at_work_is_stopped_first(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    before, name = store.files.listing(""), new_run()
    (record,) = records.read_sweeps(store.files)
    for sweep, at in ((f"tiny@{record.sha}", ""), ("gone@01234567", record.trials[1]["trial"])):
        heartbeats.write_run(store.files, name, {"sweep": sweep, "host": "there", "state": "running"})
        if at:
            heartbeats.write(store.files, name, at, {"stages": ["train"], "state": "running"})
        code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"memloc: tiny@{record.sha}: run {name} of {sweep} is at work on it on there; `")
        assert f"stop {sweep} --store {store.uri}` ends it" in err
    assert before.items() <= store.files.listing("").items()
    heartbeats.write_run(store.files, name, {"sweep": "other@01234567", "host": "there", "state": "running"})
    store.files.delete(run_layout.heartbeat(name, record.trials[1]["trial"]))
    assert run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)[0] == 0


@pytest.mark.parametrize("lives", [True, False])
def test_a_heartbeat_from_the_future_is_watched(store: Store, capfd: Capture, monkeypatch: Patch, lives: bool) -> None:
    """The server's clock was set back. Only a heartbeat that changes is of a run at work."""
    (record,) = records.read_sweeps(store.files)
    name, beat = new_run(), {"sweep": f"tiny@{record.sha}", "host": "there", "state": "running"}

    def write() -> None:
        heartbeats.write_run(store.files, name, beat)
        os.utime(Path(store.uri, run_layout.run_heartbeat(name)), (time.time() + 1e8, time.time() + 1e8))

    write()
    monkeypatch.setattr(future_dates, "WATCH_SECONDS", LONG if lives else 0.3)
    monkeypatch.setattr(future_dates, "LOOK_SECONDS", 0.1)
    beating = threading.Timer(0.3, write if lives else str)
    beating.start()
    code, _, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)
    beating.join()
    assert code == (2 if lives else 0)
    assert (f"run {name} of tiny@{record.sha} is at work on it on there" in err) == lives


def test_interrupted_half_way(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    real, left = Files.delete, iter(range(5))

    def delete(files: Files, path: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        real(files, path)

    with monkeypatch.context() as patch:
        patch.setattr(Files, "delete", delete)
        code, _, err = run(capfd, patch, "store", "rm", "tiny", "--yes", "--store", store.uri)
    again = "store rm tiny --store " + store.uri
    assert code == 130
    assert re.fullmatch(f"memloc: the removal is not complete; `.*{again}` goes on\nmemloc: interrupted\n", err)
    _, out, _ = run(capfd, monkeypatch, "store", "ls", "--store", store.uri)
    assert re.search(f"\nthe removal of tiny is not complete; `.*{again}` goes on\n$", out)
    assert run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)[0] == 0
    assert store.files.listing("") == {}


def test_an_unknown_sweep_and_no_store(store: Store, tmp_path: Path, capfd: Capture, monkeypatch: Patch) -> None:
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tinny", "--yes", "--store", store.uri)
    assert (code, out) == (2, "")
    assert err == f"memloc: tinny: no such sweep in store {store.uri} (did you mean 'tiny'?); it has: tiny\n"
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", str(tmp_path / "none"))
    assert (code, out, err.count("\n")) == (3, "", 1)


def launched(store: Store) -> str:
    """Another sweep that has nothing to do, since all of it is there."""
    records.write_sweep(store.files, "other", records.read_sweeps(store.files)[0].trials)
    return "the store has changed since the question; nothing was removed; `.*store rm tiny --store"


def at_work(store: Store) -> str:
    """The sweep itself."""
    (record,) = records.read_sweeps(store.files)
    heartbeats.write_run(store.files, new_run(), {"sweep": f"tiny@{record.sha}", "host": "there", "state": "running"})
    return "is at work on it on there"


@pytest.mark.parametrize("begin", [launched, at_work])
def test_what_begins_while_it_waits_for_an_answer(
    store: Store, capfd: Capture, monkeypatch: Patch, begin: Callable[[Store], str]
) -> None:
    before, expected = store.files.listing(""), []
    monkeypatch.setattr(store_rm, "_can_ask", lambda: True)
    monkeypatch.setattr(typer, "confirm", lambda text: expected.append(begin(store)) or True)
    code, _, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--store", store.uri)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(expected[0], err)
    assert before.items() <= store.files.listing("").items()


def test_a_run_is_at_work_whatever_this_machine_s_clock_says(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    at_work(store)
    before, now = store.files.listing(""), time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    code, out, err = run(capfd, monkeypatch, "store", "rm", "tiny", "--yes", "--store", store.uri)
    assert (code, out) == (2, "")
    assert "is at work on it on there" in err
    assert store.files.listing("") == before


def test_a_sweep_launched_again_is_no_unfinished_removal(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    """`store ls` must not lead to the removal of what was computed since."""
    (record,) = records.read_sweeps(store.files)
    (path,) = store.files.listing(layout.SWEEPS)
    store.files.move(path, layout.removal(path))

    def unfinished() -> list[str]:
        _, out, _ = run(capfd, monkeypatch, "store", "ls", "--json", "--store", store.uri)
        names: list[str] = json.loads(out)["unfinished_removals"]
        return names

    assert unfinished() == ["tiny"]
    records.write_sweep(store.files, "tiny", record.trials[:1])
    assert unfinished() == [f"tiny@{record.sha}"]
    assert run(capfd, monkeypatch, "store", "rm", f"tiny@{record.sha}", "--yes", "--store", store.uri)[0] == 0
    assert set(Store(store.uri).snapshot().trainings()) == {record.trials[0]["trial"]}
    store.files.put(layout.removal(*store.files.listing(layout.SWEEPS)), b"[]")
    assert unfinished() == []


def test_a_name_is_one_word_of_the_command_to_type(store: Store, capfd: Capture, monkeypatch: Patch) -> None:
    """Whoever may write to a store may not make a reader run a command."""
    store.files.put("removals/x; rm -r $HOME/01234567.json", b"[]")
    _, out, _ = run(capfd, monkeypatch, "store", "ls", "--store", store.uri)
    assert f"store rm 'x; rm -r $HOME' --store {store.uri}`" in out
