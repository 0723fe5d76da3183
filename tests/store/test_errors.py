"""A store that cannot be used is one line that names it, soon, and exit code 3."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memloc import commands
from memloc.errors import StoreError
from memloc.store import Files, Store, filesystem
from tests.store.conftest import BUCKET, s3_uri

COMMANDS = {
    "sweep": ["sweep", "demo", "--executor", "inline", "--max-trials", "1"],
    "dry run": ["sweep", "demo", "--dry-run"],
    "status": ["status"],
    "query": ["query", "SELECT 1"],
    "verify": ["store", "verify"],
    "ls": ["store", "ls"],
}


class Memloc:
    """The program, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], data: Path) -> None:
        self.monkeypatch, self.capfd, self.data = monkeypatch, capfd, data

    def refuses(self, command: str, uri: str, words: str, problem_names: str | None = None) -> None:
        """Exit code 3, nothing on standard output, and one line on standard error: the store, and `words`."""
        arguments = [*COMMANDS[command], "--store", uri]
        self.monkeypatch.setattr(sys, "argv", ["memloc", *arguments])
        self.monkeypatch.setenv("MEMLOC_DATA", str(self.data))
        with pytest.raises(SystemExit) as ended:
            commands.main()
        out, err = self.capfd.readouterr()
        assert (ended.value.code, out) == (3, ""), err
        (line,) = err.splitlines()
        assert line.startswith(f"memloc: store {uri if problem_names is None else problem_names}")
        assert words in line


@pytest.fixture
def memloc(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Memloc:
    return Memloc(monkeypatch, capfd, tmp_path / "data")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ftp://host/folder", "unknown scheme ftp://; valid: a path, file://, s3://, gs://, hdfs://"),
        ("S3://bucket/folder", "unknown scheme S3://"),
        ("://", "unknown scheme ://"),
        ("s3:/bucket/folder", "is neither a path nor a URI; write s3://"),
        ("s3:bucket", "is neither a path nor a URI; write s3://"),
        ("s3://", "names no folder; write for example s3://bucket/memloc"),
        ("s3:///", "names no folder; write for example s3://bucket/memloc"),
        ("gs://", "names no folder; write for example gs://bucket/memloc"),
        ("file://", "names no folder; write for example file:///memloc"),
        ("file:///", "names no folder"),
        ("file://folder/store", "write file:///folder/store"),
        ("file:///with a space", "write file:///with%20a%20space"),
        ("s3:///folder", "names no bucket; write for example s3://bucket/memloc"),
        ("s3://bucket/folder?region=us-east-1&bucket=mine", "cannot be opened: Unexpected query parameter"),
        ("~nobody-of-that-name/store", "cannot be opened"),
    ],
)
def test_what_is_no_store_at_all(memloc: Memloc, uri: str, words: str) -> None:
    for command in ("sweep", "query"):
        memloc.refuses(command, uri, words)


@pytest.mark.parametrize("uri", ["", "   "])
def test_an_empty_name(uri: str) -> None:
    with pytest.raises(StoreError, match=r"^store: is empty; valid: a path, file://, s3://, gs://, hdfs://$"):
        Store(uri)


def test_credentials_in_a_uri_are_refused_and_not_repeated(memloc: Memloc) -> None:
    uri = "s3://AKIAME:secretsecret@bucket/folder"
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead") as raised:
        Store(uri)
    assert "AKIAME" not in str(raised.value)
    assert "secret@" not in str(raised.value)
    memloc.refuses("status", uri, "end up in logs", problem_names="s3://…@…:")


def test_a_file_is_not_a_folder(memloc: Memloc, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    for uri in (str(tmp_path / "file"), f"file://{tmp_path}/file"):
        for command in COMMANDS:
            memloc.refuses(command, uri, "is a file; name a folder")
    memloc.refuses("sweep", str(tmp_path / "file" / "below"), "cannot be written: ")
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_a_place_that_cannot_be_written(memloc: Memloc) -> None:
    memloc.refuses("sweep", "/proc/memloc-store", "cannot be written: ")
    memloc.refuses("sweep", "/sys/memloc-store", "cannot be written: ")


def test_a_name_that_is_too_long(memloc: Memloc, tmp_path: Path) -> None:
    for command in ("sweep", "query"):
        memloc.refuses(command, str(tmp_path / ("x" * 300)), "cannot be ")


def test_only_a_sweep_makes_a_store(memloc: Memloc, tmp_path: Path) -> None:
    for command in ("status", "query", "verify", "ls"):
        memloc.refuses(command, str(tmp_path / "none"), f"sweep NAME --store {tmp_path}/none` makes one")
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(str(tmp_path / "store"))
    files.put("a", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"store .*: a cannot be written: \[Errno 28\] No space left on device$"):
        files.put("a", b"new")
    assert files.get("a") == b"old"
    assert files.listing("") == {"a": 3}


def folders_fail(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> list[int]:
    """From now on `os.fsync` or `os.open` of a folder fails so; what it failed on is returned."""
    genuine, failed = getattr(os, call), []

    def failing(target: Any, *arguments: Any, **options: Any) -> Any:
        path = Path(f"/proc/self/fd/{target}").resolve() if isinstance(target, int) else Path(target)
        if path.is_dir():
            failed.append(number)
            raise OSError(number, os.strerror(number))
        return genuine(target, *arguments, **options)

    monkeypatch.setattr(os, call, failing)
    return failed


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize(
    "name", ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "ENOTTY", "EBADF", "EISDIR", "EACCES", "EPERM", "EROFS"]
)
def test_folders_that_cannot_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str) -> None:
    failed = folders_fail(monkeypatch, call, getattr(errno, name))
    files = Files(str(tmp_path / "store"))
    files.check_usable()
    files.put("a/b", b"content")
    assert files.move("a/b", "c/d")
    assert failed
    monkeypatch.undo()
    assert files.listing("") == {"c/d": 7}


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize("name", ["EIO", "ENOSPC", "EDQUOT", "ESTALE", "ENXIO", "EMFILE", "ENODEV", "ETIMEDOUT"])
def test_a_folder_whose_names_may_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, name: str) -> None:
    files = Files(str(tmp_path / "store"))
    files.put("a", b"old")
    folders_fail(monkeypatch, call, getattr(errno, name))
    for action in (files.check_usable, lambda: files.put("a", b"new")):
        with pytest.raises(StoreError, match="cannot be written"):
            action()


@pytest.mark.parametrize("name", ["EINVAL", "ENOTSUP", "EIO"])
def test_a_file_must_be_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Only of folders it is tolerated: a file system that does not sync files keeps no promise at all."""
    genuine = os.fsync

    def failing(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").resolve().is_file():
            raise OSError(getattr(errno, name), name)
        genuine(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StoreError, match=f"cannot be written: .*{name}"):
        Files(str(tmp_path / "store")).check_usable()


# --- S3


def test_a_bucket_that_does_not_exist(memloc: Memloc, s3_server: str) -> None:
    uri = s3_uri(s3_server, "folder").replace(BUCKET, "no-such-bucket")
    memloc.refuses("sweep", uri, "cannot be written: ")
    memloc.refuses("status", uri, "does not exist")
    with pytest.raises(StoreError, match="NO_SUCH_BUCKET"):
        Files(uri).check_usable()


def test_nobody_listens(memloc: Memloc, s3_server: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        uri = s3_uri(f"127.0.0.1:{taken.getsockname()[1]}", "folder")
        for command in ("sweep", "status"):
            clock = time.monotonic()
            memloc.refuses(command, uri, "cannot be reached: ")
            assert time.monotonic() - clock < 60  # pyarrow's own patience is minutes


@pytest.fixture
def silent() -> Iterator[str]:
    """HOST:PORT of somebody who takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_nobody_answers(memloc: Memloc, s3_server: str, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts, to_connect, to_answer = filesystem.HASTY
    assert attempts * (to_connect + to_answer) < 20
    monkeypatch.setattr(filesystem, "HASTY", (1, 1.0, 1.0))  # with the settings of work under way it would be 90 s
    for command in ("sweep", "status"):
        clock = time.monotonic()
        memloc.refuses(command, s3_uri(silent, "folder"), "cannot be reached: ")
        assert time.monotonic() - clock < 60  # pyarrow's own patience is minutes
