"""Faults of the storage cost the time that they last; what waiting cannot mend is said at once."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from memloc.errors import DamagedError, StorageError, StoreError
from memloc.store import Files, Patience, Store, filesystem, layout
from memloc.store import local as on_disk
from memloc.store import patience as module
from tests.faults.proxy import Proxy
from tests.store.conftest import s3_uri
from tests.store.writing import commit_of
from tests.waiting import LONG, wait_until


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is told of waiting. Tries follow each other quickly, and pyarrow leaves them to memloc."""
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(filesystem, "PATIENT", (1, 2.0, 2.0))
    return []


def failing(monkeypatch: pytest.MonkeyPatch, code: int, times: int) -> list[str]:
    """The disk refuses so many writes; returns what was asked for."""
    real, asked = on_disk.write, []

    def write(root: str, path: str, data: bytes) -> None:
        asked.append(path)
        if len(asked) <= times:
            raise OSError(code, os.strerror(code))
        real(root, path, data)

    monkeypatch.setattr(on_disk, "write", write)
    return asked


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO, errno.EACCES])
def test_a_fault_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str], code: int) -> None:
    files = Files(str(tmp_path), Patience(LONG, told.append))
    asked = failing(monkeypatch, code, times=3)
    files.put("tmp/x", b"content")
    assert (len(asked), files.get("tmp/x")) == (4, b"content")
    assert told == [f"store {tmp_path}: tmp/x cannot be written: [Errno {code}] {os.strerror(code)}"] * 3 + [""]


def test_a_fault_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    files = Files(str(tmp_path), Patience(0.3, told.append))
    failing(monkeypatch, errno.ENOSPC, times=10**6)
    begun = time.monotonic()
    with pytest.raises(StorageError, match=r"No space left on device \(waited 0 s for it\)$"):
        files.put("tmp/x", b"content")
    assert 0.2 < time.monotonic() - begun < LONG
    assert len(told) > 3
    assert "" not in told  # nothing is over


@pytest.mark.parametrize("code", [errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG])
def test_what_waiting_cannot_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str], code: int) -> None:
    asked = failing(monkeypatch, code, times=10**6)
    with pytest.raises(StoreError) as caught:
        Files(str(tmp_path), Patience(LONG, told.append)).put("tmp/x", b"")
    assert (type(caught.value), len(asked), told) == (StoreError, 1, [])


def test_a_file_in_the_place_of_a_folder_is_not_waited_for(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "data").write_bytes(b"somebody else's")
    with pytest.raises(StoreError, match=r"data/rewind/x cannot be written: .*File exists") as caught:
        Files(str(tmp_path), Patience(0.3, told.append)).put("data/rewind/x", b"")
    assert (type(caught.value), told) == (StoreError, [])


def test_by_default_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(monkeypatch, errno.ENOSPC, times=1)
    with pytest.raises(StorageError, match=r"cannot be written: \[Errno 28\] No space left on device$"):
        Files(str(tmp_path)).put("tmp/x", b"")
    assert len(asked) == 1


def test_a_missing_file_is_no_fault(tmp_path: Path, told: list[str]) -> None:
    files = Files(str(tmp_path), Patience(LONG, told.append))
    assert (files.find("tmp/x"), files.size("tmp/x"), files.listing("tmp"), told) == (None, None, {}, [])
    files.delete("tmp/x")
    assert told == []


def test_an_error_of_another_kind_is_an_answer(told: list[str]) -> None:
    """Nobody waits any more, and the next fault is told again."""
    patience = Patience(LONG, told.append)
    answers: list[Exception] = [StorageError("fault"), FileNotFoundError("x")]

    def action() -> None:
        raise answers.pop(0)

    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            patience(action)
        answers += [StorageError("fault"), FileNotFoundError("x")]
    assert told == ["fault", "", "fault", ""]


def test_threads_wait_together(tmp_path: Path, told: list[str]) -> None:
    """The end is told once, when nobody waits any more."""
    patience = Patience(LONG, told.append)
    gates = [threading.Event(), threading.Event()]

    def wait(gate: threading.Event) -> None:
        def action() -> None:
            if not gate.is_set():
                raise StorageError("fault")

        patience(action)

    threads = [threading.Thread(target=wait, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(told) >= 4)
    gates[0].set()
    threads[0].join()
    assert "" not in told
    gates[1].set()
    threads[1].join()
    assert told.count("") == 1
    assert told[-1] == ""


def test_tries_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random waits whose bound doubles up to the longest: many processes do not ask at the same moment."""
    slept: list[float] = []
    monkeypatch.setattr(Patience, "_sleep", lambda patience, seconds: slept.append(seconds))
    clock = iter(range(10**6))
    monkeypatch.setattr("tenacity.time.monotonic", lambda: float(next(clock)))

    def fail() -> None:
        raise StorageError("fault")

    with pytest.raises(StorageError):
        Patience(100)(fail)
    bounds = [min(module.LONGEST_WAIT, module.FIRST_WAIT * 2**n) for n in range(len(slept))]
    assert all(0 <= seconds <= bound for seconds, bound in zip(slept, bounds, strict=True))
    assert max(slept[8:]) > module.LONGEST_WAIT / 2
    assert len(set(slept)) == len(slept)


def test_errors_travel_between_processes() -> None:
    assert pickle.loads(pickle.dumps(StorageError("a"))).problems == ("a",)
    damaged = pickle.loads(pickle.dumps(DamagedError("a", "data/x", "do b")))
    assert (damaged.problems, damaged.problem, damaged.path) == (("a; do b",), "a", "data/x")


# --- a real S3 server behind a proxy that fails


@pytest.mark.parametrize(
    "kind",
    ["reset", "500", "503", pytest.param("hang", marks=pytest.mark.slow), "slow", "cut_answer", "cut_upload", "denied"],
)
def test_faults_of_an_object_store(s3_server: str, told: list[str], kind: str) -> None:
    """Every second request fails, also those of a retry. What was written is what is read."""
    with Proxy(s3_server, [kind], rate=0.4, seed=3) as proxy:
        uri = s3_uri(s3_server, f"patience-{kind}").replace(s3_server, proxy.address)
        files = Files(uri, Patience(LONG, told.append))
        contents = {f"tmp/{n}": os.urandom(1000 * n) for n in range(1, 4)}
        for path, content in contents.items():
            files.put(path, content)
        found = {path: files.patience.settled(lambda p=path: files.find(p)) for path in contents}  # type: ignore[misc]
        assert found == contents
        assert files.patience.settled(lambda: files.listing("tmp") or None) == {p: len(c) for p, c in contents.items()}
        for path in contents:
            files.delete(path)
        proxy.kinds = []
        assert files.listing("tmp") == {}
        assert proxy.done[kind] >= 2, proxy.done
        assert kind in ("slow", "denied") or told


def test_an_object_store_that_is_gone_for_a_while(s3_server: str, told: list[str]) -> None:
    with Proxy(s3_server) as proxy:
        files = Files(s3_uri(s3_server, "gone").replace(s3_server, proxy.address), Patience(LONG, told.append))
        proxy.gone = True
        writing = threading.Thread(target=files.put, args=("tmp/x", b"content"))
        writing.start()
        wait_until(lambda: told)
        proxy.gone = False
        writing.join()
        assert files.get("tmp/x") == b"content"
    assert told[0].startswith(f"store {files.uri}: tmp/x cannot be written: ")
    assert told[-1] == ""


def test_what_another_driver_has_committed_meanwhile_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    """Two kinds of device give other bits. While one waits to write its commit, the other one may write."""
    mine, other = (replace(commit_of(0, 0, seconds), where={"device": name}) for seconds, name in ((1, "cpu"), (2, "cuda")))
    store, real, asked = Store(str(tmp_path), Patience(LONG, told.append)), on_disk.write, list[str]()

    def write(root: str, path: str, data: bytes) -> None:
        asked.append(path)
        if len(asked) == 1:
            real(root, layout.commit(other.id, other.encode()), other.encode())
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(root, path, data)

    monkeypatch.setattr(on_disk, "write", write)
    assert store.publish_once(mine, {}, {}) == other
    assert store.files.listing(layout.COMMITS).keys() == {layout.commit(other.id, other.encode())}
    assert len(asked) == 1


def test_what_was_never_written_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.2)
    begun = time.monotonic()
    assert Patience(10 * LONG).settled(lambda: None) is None
    assert time.monotonic() - begun < LONG
    looks: list[int] = []
    assert Patience(0).settled(lambda: looks.append(1)) is None
    assert len(looks) == 1


def test_an_interruption_does_not_say_that_the_storage_is_back(told: list[str]) -> None:
    tries = iter([StorageError("gone"), KeyboardInterrupt()])

    def action() -> None:
        raise next(tries)

    with pytest.raises(KeyboardInterrupt):
        Patience(LONG, told.append)(action)
    assert told == ["gone"]


def test_who_gives_up_waits_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an order to stop: within a moment, and not after the next wait."""
    monkeypatch.setattr(module, "FIRST_WAIT", 10 * LONG)
    monkeypatch.setattr(module, "LONGEST_WAIT", 10 * LONG)
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda low, high: high)
    given_up, told = threading.Event(), []
    files = Files(str(tmp_path), Patience(20 * LONG, told.append, given_up.is_set))
    failing(monkeypatch, errno.ENOSPC, times=10**6)
    timer = threading.Timer(0.3, given_up.set)
    timer.start()
    begun = time.monotonic()
    with pytest.raises(StorageError, match="No space left"):
        files.put("tmp/x", b"")
    assert 0.2 < time.monotonic() - begun < LONG
    assert len(told) == 1
    timer.join()


def test_no_patience_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    files = Files(str(tmp_path), Patience(900, told.append))
    asked = failing(monkeypatch, errno.ENOSPC, times=3)
    with files.patience.suspended(), pytest.raises(StorageError):
        files.put("tmp/x", b"")
    assert (len(asked), told) == (1, [])
    files.put("tmp/x", b"")
    assert len(asked) == 4


def test_the_clock_of_the_storage_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[str]) -> None:
    """Also if the storage denies for a moment what it has just taken."""
    files = Files(str(tmp_path), Patience(LONG, told.append))
    failing(monkeypatch, errno.ENOSPC, times=2)
    real, looks = on_disk.regular, []

    def regular(root: str, path: str) -> on_disk.Info | None:
        looks.append(path)
        return None if len(looks) < 3 else real(root, path)

    monkeypatch.setattr(on_disk, "regular", regular)
    assert abs(files.clock() - time.time()) < 60
    assert (len(told), len(looks), files.listing("tmp")) == (3, 3, {})
