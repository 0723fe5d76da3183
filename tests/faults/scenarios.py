"""The faults of the matrix. Each scenario injects several into one sweep; `case.py` says what must be true afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.case import Case, spread
from tests.faults.machines import clock_is_off, lost_node, partition
from tests.faults.proxy import Proxy

PROXY = ["reset", "500", "503", "cut_answer", "cut_upload", "denied", "slow"]


@dataclass(frozen=True)
class Scenario:
    """run: injects the faults. on: `disk`, `small` (a small file system of its own) or `s3`. times: how many cases of it."""

    name: str
    run: Callable[[Case], None]
    on: str = "disk"
    ray: str = ""
    times: int = 1


# --- processes


def killed(case: Case) -> None:
    """kill -9 of the driver at random moments, launch after launch."""
    for _ in range(3):
        with case.launched() as process:
            if case.moment(process) and case.kill(process):
                case.faults["kill -9 of the driver"] += 1


def ended_by(number: int, name: str) -> Callable[[Case], None]:
    """An order to stop by a signal, at a random moment."""

    def run(case: Case) -> None:
        for _ in range(2):
            with case.launched() as process:
                if case.moment(process) and case.kill(process, number=number):
                    case.faults[name] += 1

    return run


def twice(case: Case) -> None:
    """Ctrl-C, and again before the drain is over."""
    with case.launched() as process:
        if case.moment(process):
            case.kill(process, number=signal.SIGINT)
            time.sleep(case.draws.uniform(0.05, 0.4))
            case.kill(process, number=signal.SIGINT)
            case.faults["Ctrl-C twice"] += 1


def process_of_ray(title: str, name: str, times: int) -> Callable[[Case], None]:
    """kill -9 of processes of Ray whose title has these words."""

    def run(case: Case) -> None:
        with case.launched() as process:
            for _ in range(times):
                if case.wait(process, lambda: case.kill(process, title)):
                    case.faults[f"kill -9 of {name}"] += 1
                    case.rest(process, case.draws.uniform(1, 5))

    return run


def server_of_ray(title: str, name: str) -> Callable[[Case], None]:
    """kill -9 of a process without which Ray cannot work: while it starts, and then at a random moment of the work."""

    def run(case: Case) -> None:
        with case.launched() as process:
            if case.wait(process, lambda: case.kill(process, title)):
                case.faults[f"kill -9 of {name}, while Ray starts"] += 1
        with case.launched() as process:
            if case.moment(process) and case.kill(process, title):
                case.faults[f"kill -9 of {name}"] += 1

    return run


# --- the disk


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


# --- files


KINDS = {
    "commit": "commits/*/*.json",
    "data file": "data/*/*/*.parquet",
    "checkpoint": "checkpoints/*/*.safetensors",
    "resume state": "checkpoints/*/*.pt",
    "record of a sweep": "sweeps/*/*.json",
    "heartbeat": "heartbeats/*/*.json",
    "lease": "leases/*.json",
}


def damaged(case: Case) -> None:
    """Bytes change or go while nobody looks, after a kill."""
    for _ in range(2):
        with case.launched() as process:
            if case.moment(process) and case.kill(process):
                case.faults["kill -9 of the driver"] += 1
        for kind, pattern in KINDS.items():
            for path in spread(case.draws, sorted(Path(case.direct).glob(pattern)), 2):
                _damage(case, kind, path)


def damaged_under_way(case: Case) -> None:
    """Checkpoints change while the sweep runs, so its plan does not know."""
    with case.launched() as process:
        for _ in range(4):
            if case.moment(process):
                for path in spread(case.draws, sorted(Path(case.direct).glob("checkpoints/*/epoch-000[0-2]*")), 1):
                    _damage(case, "checkpoint, under way", path)


def _damage(case: Case, kind: str, path: Path) -> None:
    try:
        content = bytearray(path.read_bytes())
        how = case.draws.choice(["changed", "cut", "removed", "empty"])
        if how == "removed":
            path.unlink()
        elif how == "changed" and content:
            content[case.draws.randrange(len(content))] ^= 1 << case.draws.randrange(8)
            path.write_bytes(content)
        else:
            os.truncate(path, case.draws.randrange(len(content)) if how == "cut" and content else 0)
    except FileNotFoundError:
        return
    case.faults[f"{kind} {how}"] += 1


def from_the_future(case: Case) -> None:
    """A driver is killed, and its heartbeats and leases bear dates two hours ahead: the server's clock was set back."""
    with case.launched() as process:
        if case.moment(process) and case.kill(process):
            case.faults["kill -9 of the driver"] += 1
    then = time.time() + 7200
    for path in [*Path(case.direct).glob("heartbeats/*/*"), *Path(case.direct).glob("leases/*")]:
        os.utime(path, (then, then))
        case.faults["heartbeat or lease from the future"] += 1


# --- two drivers


def two_drivers(case: Case) -> None:
    """Two launches at once; one of them is killed."""
    with case.launched() as one, case.launched() as other:
        case.faults["two drivers"] += 1
        if case.moment(one) and case.kill(one):
            case.faults["kill -9 of one of two drivers"] += 1
        del other


# --- the object store


def proxied(kinds: list[str], rate: float) -> Callable[[Case], None]:
    """Every request may fail."""

    def run(case: Case) -> None:
        with Behind(case, kinds, rate), case.launched():
            pass

    return run


def gone(seconds: float) -> Callable[[Case], None]:
    """No server for a while."""

    def run(case: Case) -> None:
        with Behind(case, [], 0.0) as proxy, case.launched() as process:
            case.rest(process, case.draws.uniform(3, 8))
            proxy.gone = True
            time.sleep(seconds)
            proxy.gone = False
            case.faults[f"S3 server gone for {seconds:.0f} s"] += 1
            proxy.done.clear()

    return run


class Behind:
    """Meanwhile the sweep reaches its store through a proxy."""

    def __init__(self, case: Case, kinds: list[str], rate: float) -> None:
        self.case, self.before = case, case.uri
        server = case.uri.split("endpoint_override=")[1].split("&")[0]
        self.proxy = Proxy(server, kinds, rate, seed=case.draws.randrange(1 << 30))
        case.uri = case.uri.replace(server, self.proxy.address)

    def __enter__(self) -> Proxy:
        return self.proxy.__enter__()

    def __exit__(self, *error: object) -> None:
        for kind, n in self.proxy.done.items():
            self.case.faults[f"S3 {kind}"] += n
        self.proxy.__exit__(None, None, None)
        self.case.uri = self.before


SCENARIOS = (
    Scenario("kills of a driver in one process", killed, times=3),
    Scenario("SIGTERM", ended_by(signal.SIGTERM, "SIGTERM"), times=2),
    Scenario("Ctrl-C", ended_by(signal.SIGINT, "Ctrl-C"), times=2),
    Scenario("Ctrl-C twice", twice, times=2),
    Scenario("a full disk", full, on="small", times=2),
    Scenario("a read-only file system", read_only, on="small", times=2),
    Scenario("a disk that is full for too long", full_for_too_long, on="small", times=2),
    Scenario("damaged files", damaged, times=4),
    Scenario("checkpoints damaged under way", damaged_under_way, times=3),
    Scenario("dates from the future", from_the_future, times=2),
    Scenario("two drivers", two_drivers, times=3),
    Scenario("an S3 server that fails", proxied(PROXY, 0.06), on="s3", times=3),
    Scenario("an S3 server that hangs", proxied(["hang"], 0.01), on="s3"),
    Scenario("an S3 server that is gone for a minute", gone(60.0), on="s3"),
    Scenario("an S3 server that is gone for five minutes", gone(300.0), on="s3"),
    Scenario("Ray: kills of the driver", killed, ray="local", times=2),
    Scenario("Ray: trainers", process_of_ray("ray::train", "a trainer", 3), ray="local", times=2),
    Scenario("Ray: tasks", process_of_ray("ray::run_parts", "a task", 3), ray="local", times=2),
    Scenario("Ray: coordinators", process_of_ray("ray::Coordinator", "a coordinator", 2), ray="local", times=2),
    Scenario("Ray: admission", process_of_ray("ray::AdmissionActor", "the admission actor", 2), ray="local"),
    Scenario("Ray: raylet", server_of_ray("raylet/raylet", "the raylet"), ray="local", times=2),
    Scenario("Ray: GCS", server_of_ray("gcs/gcs_server", "the GCS"), ray="local", times=2),
    Scenario("Ray: a full disk", full, on="small", ray="local"),
    Scenario("Ray: SIGTERM", ended_by(signal.SIGTERM, "SIGTERM"), ray="local"),
    Scenario("Ray: an S3 server that fails", proxied(PROXY, 0.04), on="s3", ray="local", times=2),
    Scenario("Ray: two drivers", two_drivers, ray="local"),
    Scenario("clocks two minutes off", clock_is_off, times=2),
    Scenario("two machines: a network that is cut", partition, ray="cluster", times=2),
    Scenario("two machines: one is lost", lost_node, ray="cluster"),
)
