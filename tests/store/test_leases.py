"""Leases: who is at work on a trial, by the storage's clock, whatever the clocks of machines say."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from memloc.errors import StorageError
from memloc.store import Files, Patience, Store, future_dates, garbage
from memloc.store import local as on_disk
from memloc.store.future_dates import AHEAD_SECONDS, Watch
from memloc.store.leases import FRESH_SECONDS, Holder, held, held_among, release, renew, take, taken_by_other, this_process
from tests.waiting import LONG

TRIAL, OTHER = "a" * 16, "b" * 16
ONE, TWO = Holder("20261129-120000-aaaaaa", "one"), Holder("20261129-120000-bbbbbb", "two")


@pytest.fixture
def store(uri: str) -> Store:
    return Store(uri)


def test_one_has_it_until_it_is_released(store: Store) -> None:
    files = store.files
    assert held(files, TRIAL) is None
    assert take(files, TRIAL, ONE) is None
    assert take(files, TRIAL, ONE) is None  # a coordinator that begins again
    assert (take(files, TRIAL, TWO), held(files, TRIAL)) == (ONE, ONE)
    assert take(files, OTHER, TWO) is None
    release(files, TRIAL, TWO)  # not its own
    assert held(files, TRIAL) == ONE
    release(files, TRIAL, ONE)
    release(files, TRIAL, ONE)
    assert take(files, TRIAL, TWO) is None
    assert held(files, TRIAL) == TWO


def aged(store: Store, trial: str, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(Path(store.uri, f"leases/{trial}.json"), (then, then))


def test_an_old_one_counts_no_more(disk_store: Store) -> None:
    files = disk_store.files
    take(files, TRIAL, ONE)
    aged(disk_store, TRIAL, FRESH_SECONDS - 10)
    assert held(files, TRIAL) == ONE
    aged(disk_store, TRIAL, FRESH_SECONDS + 10)
    assert held(files, TRIAL) is None
    assert take(files, TRIAL, TWO) is None
    renew(files, TRIAL, ONE)  # it was only slow: both work now, and the last one to write has the lease
    assert held(files, TRIAL) == ONE


@pytest.mark.parametrize("offset", [-7200.0, 7200.0])
def test_this_machine_s_clock_does_not_count(disk_store: Store, monkeypatch: pytest.MonkeyPatch, offset: float) -> None:
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + offset)
    assert take(disk_store.files, TRIAL, ONE) is None
    assert held(disk_store.files, TRIAL) == ONE


def test_a_lease_from_the_future_counts_while_it_changes(disk_store: Store) -> None:
    """The server's clock was set back. A holder that lives renews its lease, also where the dates stay in the future, as on
    a storage of several servers. One that is gone does not, and the lease ends after a minute.
    """
    files, now = disk_store.files, [0.0]
    watch = Watch(lambda: now[0])

    def look(at: float) -> list[str]:
        now[0] = at
        return list(held_among(files, [TRIAL, OTHER], watch))

    for trial in (TRIAL, OTHER):
        take(files, trial, ONE)
        aged(disk_store, trial, -7200)
    assert held(files, TRIAL) == held(files, TRIAL) == ONE  # two looks cannot tell
    assert look(1000.0) == [TRIAL, OTHER]
    assert look(1000.0 + FRESH_SECONDS - 1) == [TRIAL, OTHER]
    aged(disk_store, OTHER, -7300)
    assert look(1000.0 + FRESH_SECONDS - 0.5) == [TRIAL, OTHER]
    assert look(1000.0 + FRESH_SECONDS) == [OTHER]
    assert held(files, TRIAL) is None  # for the coordinator of a sweep on Ray too, which is another process
    assert files.listing("leases").keys() == {f"leases/{OTHER}.json"}
    assert look(1000.0 + 2 * FRESH_SECONDS - 1) == [OTHER]
    assert look(1000.0 + 2 * FRESH_SECONDS) == []


def test_a_lease_that_is_hardly_ahead_is_a_fresh_one(disk_store: Store) -> None:
    """Storages round their dates. Such a lease is soon as old as its date says."""
    now = [0.0]
    watch = Watch(lambda: now[0])
    take(disk_store.files, TRIAL, ONE)
    aged(disk_store, TRIAL, -AHEAD_SECONDS + 1)
    for now[0] in (0.0, 2 * FRESH_SECONDS):
        assert held_among(disk_store.files, [TRIAL], watch) == {TRIAL: ONE}


def test_a_process_of_this_machine_that_was_killed_holds_nothing(disk_store: Store) -> None:
    """The next command goes on at once. A process with the same number that began later is another one."""
    code = (
        "import sys; from memloc.store import leases; print(leases.this_process(sys.argv[1]).process, flush=True); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, ONE.run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    holder = Holder(ONE.run, "one", process.stdout.readline().strip())
    assert holder.process.split()[1] == str(process.pid)
    take(disk_store.files, TRIAL, holder)
    assert held(disk_store.files, TRIAL) == holder
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
    assert held(disk_store.files, TRIAL) is None
    process.communicate()
    assert held(disk_store.files, TRIAL) is None
    kernel, _, begun = this_process("x").process.split()
    for text, gone in [
        (f"{kernel} {os.getpid()} {begun}", False),
        (f"{kernel} {os.getpid()} {int(begun) - 1}", True),
        (f"{kernel} 4194400 {begun}", True),
        (f"another/{kernel} 4194400 {begun}", False),  # of another machine or another container nobody knows
        (f"{kernel} -1 {begun}", False),
        ("", False),
    ]:
        renew(disk_store.files, TRIAL, Holder(ONE.run, "one", text))
        assert (held(disk_store.files, TRIAL) is None) == gone, text


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"run": 1}', b'{"run": "x", "host": "\\u001b[2J"}', b"\xff" * 10, b"1" * (1 << 17)],
)
@pytest.mark.filterwarnings("ignore::memloc.errors.MemlocWarning")
def test_what_is_no_lease_holds_nothing(disk_store: Store, content: bytes) -> None:
    disk_store.files.put(f"leases/{TRIAL}.json", content)
    assert held(disk_store.files, TRIAL) is None
    assert take(disk_store.files, TRIAL, ONE) is None
    assert held(disk_store.files, TRIAL) == ONE


def test_many_at_once(disk_store: Store) -> None:
    """Mostly one gets it; who has it in the end is one who was told so."""
    holders = [Holder(f"20261129-120000-00000{n}", f"machine {n}") for n in range(8)]
    got: list[Holder] = []
    barrier = threading.Barrier(len(holders))

    def run(holder: Holder) -> None:
        files = Store(disk_store.uri).files
        barrier.wait()
        if not taken_by_other(files, TRIAL, holder):
            got.append(holder)

    threads = [threading.Thread(target=run, args=(holder,)) for holder in holders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(disk_store.files, TRIAL) in got


def test_without_a_holder_nothing_is_written(disk_store: Store) -> None:
    assert taken_by_other(disk_store.files, TRIAL, None) == ""
    assert disk_store.files.listing("leases") == {}


def test_gc_removes_old_ones(disk_store: Store) -> None:
    for trial in (TRIAL, OTHER):
        take(disk_store.files, trial, ONE)
    aged(disk_store, TRIAL, 8 * 86400)
    assert [(p.kind, p.path) for p in garbage.find(disk_store.files, 7 * 86400, lambda paths: None)] == [
        ("leases of runs that are gone", f"leases/{TRIAL}.json")
    ]


@pytest.mark.parametrize("lives", [True, False])
def test_gc_watches_those_from_the_future(disk_store: Store, monkeypatch: pytest.MonkeyPatch, lives: bool) -> None:
    """A date does not tell then whether a run is gone."""
    take(disk_store.files, TRIAL, ONE)
    aged(disk_store, TRIAL, -(10**8))
    monkeypatch.setattr(future_dates, "WATCH_SECONDS", LONG if lives else 0.3)
    monkeypatch.setattr(future_dates, "LOOK_SECONDS", 0.1)
    threads = [threading.Timer(0.3, renew, (disk_store.files, TRIAL, ONE))] if lives else []
    for thread in threads:
        thread.start()
    found = [piece.path for piece in garbage.find(disk_store.files, 7 * 86400, lambda paths: None)]
    assert found == ([] if lives else [f"leases/{TRIAL}.json"])
    for thread in threads:
        thread.join()


@pytest.fixture
def disk_store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_a_storage_that_fails_is_not_waited_for(disk_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease is a hint: the work itself waits, where it can say so."""

    def write(root: str, path: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(on_disk, "write", write)
    told: list[str] = []
    begun = time.monotonic()
    assert taken_by_other(Store(disk_store.uri, Patience(10 * LONG, told.append)).files, TRIAL, ONE) == ""
    assert time.monotonic() - begun < LONG
    assert told == []


def test_a_lease_that_cannot_be_read_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an object store the threads of `Files.map` read it. They are as impatient as the thread that asks."""
    renew(store.files, TRIAL, TWO)
    told: list[str] = []
    impatient = Store(store.uri, Patience(3.0, told.append)).files

    def get(path: str, most: int | None) -> bytes:
        def fail() -> bytes:
            raise StorageError(f"{path} cannot be read")

        return impatient.patience(fail)

    monkeypatch.setattr(impatient, "get", get)
    assert taken_by_other(impatient, TRIAL, ONE) == ""
    assert told == []


def test_many_are_looked_at_with_one_listing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that waits for a hundred trials of another one asks the store a few things, and only their leases."""
    trials = [f"{n:016x}" for n in range(100)]
    for trial in trials[:3]:
        renew(store.files, trial, ONE)
    renew(store.files, TRIAL, TWO)  # nobody asks for it
    asked: list[str] = []
    for name in ("_infos", "info", "get", "put", "delete", "clock"):
        real = getattr(Files, name)

        def counted(self: Files, *args: object, _name: str = name, _real: Any = real, **kwargs: object) -> object:
            asked.append(_name)
            return _real(self, *args, **kwargs)

        monkeypatch.setattr(Files, name, counted)
    assert held_among(store.files, trials) == dict.fromkeys(trials[:3], ONE)
    assert asked.count("get") == 3
    assert len(asked) <= 10, asked
    asked.clear()
    assert held_among(store.files, trials[5:]) == {}
    assert asked == ["_infos"]


def test_where_no_lease_can_be_the_work_is_done(disk_store: Store) -> None:
    """A lease is a hint: a file in the place of its folder costs double work at most."""
    Path(disk_store.uri).mkdir(exist_ok=True)
    Path(disk_store.uri, "leases").write_text("a file")
    assert taken_by_other(disk_store.files, TRIAL, ONE) == ""
