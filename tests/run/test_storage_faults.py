"""A disk that is full or read-only while a sweep runs: the sweep waits, goes on when it can, and says so."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.run.programs import Program, assert_same, contents, memloc, started
from tests.waiting import LONG, wait_until


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "memloc", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def sweep(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("epochs: 2", "epochs: 15").replace("[0, 1, 2]", "[0, 15]"))
    return str(path)


def fill(disk: Path) -> None:
    with open(disk / "filler", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def free(disk: Path) -> None:
    (disk / "filler").unlink()


def read_only(disk: Path) -> None:
    wait_until(lambda: subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True).returncode == 0)


def writable(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)


def lines(process: Program, until: str) -> str:
    """What it prints up to a line with these words."""
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if until in line:
            return read
    pytest.fail(read)


FAULTS = {"full": (fill, free, "No space left on device"), "read-only": (read_only, writable, "Read-only file system")}


@pytest.mark.slow  # a minute of waiting; the test of status goes on too
@pytest.mark.parametrize("kind", FAULTS)
def test_it_waits_and_goes_on(tmp_path: Path, disk: Path, sweep: str, kind: str) -> None:
    begin, end, words = FAULTS[kind]
    store = disk / "store"
    arguments = ("sweep", sweep, "--executor", "inline")
    with started(tmp_path, *arguments, "--store", str(store)) as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0003*")))
        begin(disk)
        told = lines(process, "waiting for storage since")
        assert words in told.splitlines()[-1]
        end(disk)
        told = lines(process, "the storage works again, after")
        _, err = process.communicate(timeout=LONG)
    assert (process.returncode, "FAILED" in told + err, "Traceback" in err) == (0, False, False), err
    whole = tmp_path / "whole"
    assert memloc(tmp_path, *arguments, "--store", str(whole)).code == 0
    assert_same(whole, store)
    assert not list(store.glob("failures/*"))


def test_patience_ends_and_the_same_command_goes_on(tmp_path: Path, disk: Path, sweep: str) -> None:
    """One fault, whatever is left to do: nothing fails, and nothing more is begun."""
    store = disk / "store"
    arguments = ("sweep", sweep, "--executor", "inline", "--store", str(store))
    with started(tmp_path, *arguments, "--storage-patience", "2s") as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0003*")))
        fill(disk)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 3, err
    assert re.search(r"^memloc: store .* No space left on device \(waited \d+ s for it\)$", err, re.MULTILINE), err
    assert "0 of 2 trials done" in err
    assert "works again" not in err
    (again,) = re.findall(r"^memloc: everything committed is kept. To go on when that is mended: (.*)$", err, re.MULTILINE)
    assert again.endswith("--storage-patience 2s")
    assert ("FAILED" in err, "Traceback" in err, err.count("No space left")) == (False, False, 2), err
    free(disk)
    assert not list(store.glob("failures/*"))
    done = memloc(tmp_path, *arguments)
    assert done.code == 0, done.err
    assert contents(store)["trials"].num_rows == 2


def test_a_store_that_is_full_from_the_start(tmp_path: Path, disk: Path, sweep: str) -> None:
    """It is said at once, before anything is waited for."""
    fill(disk)
    done = memloc(tmp_path, "sweep", sweep, "--executor", "inline", "--store", str(disk / "store"))
    assert done.code == 3
    assert len(done.err.splitlines()) == 1
    shutil.rmtree(disk / "store", ignore_errors=True)


def test_status_says_it(tmp_path: Path, disk: Path, sweep: str) -> None:
    """Small files may still have room where a checkpoint has none."""
    store = disk / "store"
    with started(tmp_path, "sweep", sweep, "--executor", "inline", "--store", str(store)) as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0003*")))
        fill(disk)
        with open(disk / "filler", "r+b") as file:
            file.truncate(file.seek(0, 2) - 16 * 4096)
        told = ""

        def said() -> bool:
            nonlocal told
            told = memloc(tmp_path, "status", "--store", str(store)).out
            return "waiting for storage since" in told

        wait_until(said)
        free(disk)
        process.communicate(timeout=LONG)
    assert process.returncode == 0
    assert re.search(
        r"^  [0-9a-f]{8} waiting for storage since \d\d:\d\d: store .*No space left on device$", told, re.MULTILINE
    )


@pytest.mark.slow  # some seconds; test_patience.py has the waiting itself
def test_a_second_order_ends_the_waiting(tmp_path: Path, disk: Path, sweep: str) -> None:
    """It waits in the thread that writes states, for which the end of a training waits too."""
    store = disk / "store"
    with started(tmp_path, "sweep", sweep, "--executor", "inline", "--store", str(store)) as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0003*")))
        fill(disk)
        lines(process, "waiting for storage since")
        process.send_signal(signal.SIGINT)
        lines(process, "interrupted: finishing")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert "Traceback" not in err
