"""Machines as network namespaces: a Ray cluster of two, a network that can be cut between them, clocks that are off."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.case import LONGEST, Case
from tests.run.clusters import RAY
from tests.run.programs import environment, kill_tree
from tests.waiting import wait_until

# As docs/ray.md says: a node that is cut off counts as dead within about ten seconds.
QUICK = {
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "4000",
    "RAY_health_check_failure_threshold": "3",
}
# Python imports it at its start.
CLOCK = """
import os, time
_real, _offset = time.time, float(os.environ.get("CLOCK_OFFSET", "0"))
time.time = lambda: _real() + _offset
"""


@contextmanager
def with_clock(seconds: float) -> Iterator[dict[str, str]]:
    """The variables of a process whose clock is off."""
    folder = tempfile.mkdtemp(prefix="mlc")
    try:
        Path(folder, "sitecustomize.py").write_text(CLOCK)
        paths = os.pathsep.join([folder, *filter(None, [os.environ.get("PYTHONPATH")])])
        yield {"PYTHONPATH": paths, "CLOCK_OFFSET": str(seconds)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def launched(case: Case, *options: str, prefix: Sequence[str] = (), **environ: str) -> Iterator[subprocess.Popen[str]]:
    """The sweep in an interpreter of its own; when the block ends, it must end by itself."""
    case.launches += 1
    command = [*prefix, sys.executable, "-m", "memloc", *case.arguments, *options]
    process = subprocess.Popen(
        command, env=environment(case.home, **environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
        _, err = process.communicate(timeout=LONGEST)
        case.codes.append(process.returncode)
        case.said = err[-1500:]
        assert "Traceback" not in err, err
    finally:
        if process.poll() is None:
            kill_tree(process)


@dataclass(frozen=True)
class Machines:
    """Two machines. address: of the head. secret: the variables with which a process logs in. nodes: their `ray start`s."""

    names: tuple[str, str]
    address: str
    secret: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]

    def network(self, up: bool) -> None:
        """Cuts the network between them, or mends it."""
        ip("-n", self.names[0], "link", "set", "veth0", "up" if up else "down")

    def prefix(self, which: int) -> tuple[str, ...]:
        """What begins a command on a machine."""
        return "ip", "netns", "exec", self.names[which]


def ip(*arguments: str) -> None:
    """Runs `ip ARGUMENTS`."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def two_machines(case: Case, offset: float = 0.0) -> Iterator[Machines]:
    """A cluster of two machines with a CPU each. offset: of the second one's clock, in seconds."""
    tag = secrets.token_hex(3)
    names = f"mlf{tag}a", f"mlf{tag}b"
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0", **QUICK}
    with ExitStack() as ends:
        for name in names:
            ip("netns", "add", name)
            ends.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
        ip("link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0", "netns", names[1])
        for number, name in enumerate(names, 1):
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        machines = Machines(names, "10.77.0.1:6399", secret, [])
        log = ends.enter_context(open(case.home / "nodes.log", "wb"))
        clock = ends.enter_context(with_clock(offset))
        for number in (0, 1):
            scratch = tempfile.mkdtemp(prefix="mln")
            ends.callback(shutil.rmtree, scratch, ignore_errors=True)
            role = ["--head", "--port=6399", "--include-dashboard=false", f"--temp-dir={scratch}"]
            role = [f"--address={machines.address}"] if number else role
            common = [f"--node-ip-address=10.77.0.{number + 1}", "--num-cpus=1", "--block", "--disable-usage-stats"]
            process = subprocess.Popen(
                [*machines.prefix(number), RAY, "start", *role, *common, "--object-store-memory=100000000"],
                env=environment(case.home, **secret, **(clock if number else {})), stdout=log, stderr=log,
            )  # fmt: skip
            machines.nodes.append(process)
            ends.callback(kill_tree, process)
            started = number + 1
            wait_until(lambda n=started: (case.home / "nodes.log").read_text().count("Ray runtime started") == n, 90)  # type: ignore[misc]
        yield machines


# --- scenarios


def clock_is_off(case: Case) -> None:
    """Drivers whose clocks are two minutes ahead or behind, one killed, the other going on at once."""
    for offset in (120.0, -120.0, 120.0):
        with with_clock(offset) as clock, launched(case, **clock) as process:
            case.faults["a clock two minutes off"] += 1
            wait_until(lambda p=process: p.poll() is not None or len(list(Path(case.direct).glob("*/*/*"))) > 5, 120)  # type: ignore[misc]
            time.sleep(case.draws.uniform(0, 4))
            if process.poll() is None:
                process.kill()
                case.faults["kill -9 of the driver"] += 1


def partition(case: Case) -> None:
    """The network between two machines is cut for half a minute, twice; the second one's clock is two minutes ahead."""
    with two_machines(case, offset=120.0) as machines:
        case.faults["a clock two minutes off"] += 1
        where = ("--address", machines.address)
        with launched(case, *where, prefix=machines.prefix(0), **machines.secret) as process:
            for seconds in (30.0, 5.0):
                files = len(list(Path(case.direct).glob("*/*/*")))
                wait_until(
                    lambda p=process, n=files: p.poll() is not None or len(list(Path(case.direct).glob("*/*/*"))) > n + 3,
                    200,
                )  # type: ignore[misc]
                if process.poll() is None:
                    machines.network(False)
                    case.faults[f"a network cut for {seconds:.0f} s"] += 1
                    time.sleep(seconds)
                    machines.network(True)


def lost_node(case: Case) -> None:
    """kill -9 of everything on one of two machines."""
    with two_machines(case) as machines:
        where = ("--address", machines.address)
        with launched(case, *where, prefix=machines.prefix(0), **machines.secret) as process:
            wait_until(lambda: process.poll() is not None or len(list(Path(case.direct).glob("*/*/*"))) > 8, 200)
            if process.poll() is None:
                kill_tree(machines.nodes[1])
                case.faults["kill -9 of a worker node"] += 1
