"""A disk that is full or read-only."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.faults.case import Case


def _remount(disk: Path, how: str) -> bool:
    return subprocess.run(["mount", "-o", f"remount,{how}", disk], capture_output=True).returncode == 0


def full(case: Case) -> None:
    """A disk without room, three times, each time for some seconds."""
    disk, filler = Path(case.direct).parent, Path(case.direct).parent / "filler"
    with case.launched() as process:
        for _ in range(3):
            if not case.moment(process):
                break
            with open(filler, "ab", buffering=0) as file:
                for size in (1 << 20, 1 << 12):
                    with suppress(OSError):
                        while True:
                            file.write(bytes(size))
            case.faults["full disk"] += 1
            time.sleep(case.draws.uniform(1, 6))
            filler.unlink()
            assert os.statvfs(disk).f_bavail


def read_only(case: Case) -> None:
    """A file system that is made read-only, three times."""
    disk = Path(case.direct).parent
    with case.launched() as process:
        for _ in range(3):
            if case.moment(process) and case.wait(process, lambda: _remount(disk, "ro")):
                case.faults["read-only file system"] += 1
                time.sleep(case.draws.uniform(1, 6))
            _remount(disk, "rw")


def full_for_too_long(case: Case) -> None:
    """The patience ends: the launch ends with exit code 3, and the same command goes on."""
    filler = Path(case.direct).parent / "filler"
    with case.launched("--storage-patience", "2s") as process:
        if case.moment(process):
            with open(filler, "ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(bytes(1 << 12))
            case.faults["full disk, for longer than the patience"] += 1
            process.wait(120)
    filler.unlink(missing_ok=True)
    assert not case.faults or case.codes == [3], case.codes
