"""Two machines with a driver each: network namespaces with processes and a name of their own, and a store that both reach.

Neither can see whether a process of the other is alive, so only the leases tell who is at work.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from memloc.store import Files, layout
from tests.faults.case import LONGEST, Case
from tests.faults.machines import ip, launched
from tests.faults.object_store import server_of
from tests.faults.proxy import Proxy
from tests.run.programs import kill_tree, memloc
from tests.waiting import wait_until


def alone(name: str) -> tuple[str, ...]:
    """What begins a command that sees no process of others, on a machine of this name."""
    own = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts")
    return (*own, "sh", "-c", f'hostname {name}; exec "$@"', "sh")


@dataclass(frozen=True)
class Machine:
    """name: of its namespace, and its own. uri: the store as it reaches it."""

    name: str
    uri: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What begins a command there."""
        return ("ip", "netns", "exec", self.name, *alone(self.name))

    def network(self, up: bool) -> None:
        """Takes it off the network, or brings it back."""
        ip("link", "set", self.name, "up" if up else "down")


@contextmanager
def machines_of(case: Case) -> Iterator[list[Machine]]:
    """Two machines whose only way out is the case's S3 server."""
    tag, server = secrets.token_hex(3), server_of(case.uri)
    with ExitStack() as ends:
        machines = []
        for number in (1, 2):
            name, here = f"mlf{tag}{number}", f"10.78.{number}.1"
            ip("netns", "add", name)
            ends.callback(subprocess.run, ["ip", "netns", "del", name], capture_output=True)
            ip("link", "add", name, "type", "veth", "peer", "name", "veth0", "netns", name)
            ip("addr", "add", f"{here}/24", "dev", name)
            ip("link", "set", name, "up")
            ip("-n", name, "addr", "add", f"10.78.{number}.2/24", "dev", "veth0")
            ip("-n", name, "link", "set", "veth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            proxy = ends.enter_context(Proxy(server, host=here))
            machines.append(Machine(name, case.uri.replace(server, proxy.address)))
        yield machines


def holders(files: Files) -> set[str]:
    """The machines whose drivers have leases, living or dead."""
    found = (files.find(path) for path in files.listing(layout.LEASES))
    return {json.loads(content)["host"] for content in found if content}


# --- scenarios


def _two(case: Case, disturbed: Callable[[Machine, subprocess.Popen[str], subprocess.Popen[str]], None]) -> None:
    """Both begin the sweep. disturbed: called with the second machine, its driver and the other, when both have a trial."""
    files, one_cpu = Files(case.direct), ("--cpus", "1") if case.ray else ()  # with two a driver may take all trials
    with machines_of(case) as (first, second), ExitStack() as ends:
        one, other = (
            ends.enter_context(launched(case, "--store", machine.uri, *one_cpu, prefix=machine.prefix))
            for machine in (first, second)
        )
        case.faults["two drivers on two machines"] += 1
        wait_until(lambda: holders(files) >= {first.name, second.name}, LONGEST)
        time.sleep(case.draws.uniform(0, 3))
        assert second.name in holders(files), "its work was over"
        disturbed(second, other, one)


def one_is_killed(case: Case) -> None:
    """One of two drivers is killed with its machine. Its leases grow old, and the other one does its work."""

    def disturbed(machine: Machine, driver: subprocess.Popen[str], other: subprocess.Popen[str]) -> None:
        kill_tree(driver)
        case.faults["kill -9 of one of two drivers on two machines"] += 1
        other.wait(LONGEST)
        assert other.returncode == 0, "the other driver has not done all"

    _two(case, disturbed)


def one_is_cut_off(case: Case) -> None:
    """The network of one of two machines is gone until the other has done all work. Then it comes back, and sees that."""

    def disturbed(machine: Machine, driver: subprocess.Popen[str], other: subprocess.Popen[str]) -> None:
        machine.network(False)
        case.faults["one of two machines with a driver each is cut off"] += 1
        other.wait(LONGEST)
        assert other.returncode == 0, "the other driver has not done all"
        assert driver.poll() is None, "a driver that is cut off has ended"
        machine.network(True)

    _two(case, disturbed)
    assert case.codes == [0, 0], case.codes


def from_the_future(case: Case) -> None:
    """A machine is lost with its driver, whose heartbeats and leases bear dates two hours ahead.

    So the clock of the storage was set back. For two hours nothing but the watching of them tells that nobody is at work.
    """
    with launched(case, prefix=alone("lost")) as process:
        wait_until(lambda: len(list(Path(case.direct).glob("*/*/*"))) > case.draws.randrange(10, 30), LONGEST)
        assert process.poll() is None
        kill_tree(process)
        case.faults["kill -9 of the driver"] += 1
    then, begun = time.time() + 7200, time.monotonic()
    held = sorted(Path(case.direct).glob("leases/*"))
    assert held
    for path in [*Path(case.direct).glob("heartbeats/*/*"), *held]:
        os.utime(path, (then, then))
        case.faults["heartbeat or lease from the future"] += 1
    status = memloc(case.home, "status", "small", "--json", "--store", case.direct)
    assert status.code == 0, status.err
    assert json.loads(status.out)["runs"] == [], status.out
    told = memloc(case.home, "stop", "--store", case.direct)
    assert "no run is at work" in told.out, told.out
    with case.launched():
        pass
    assert case.codes[-1] == 0, case.codes
    assert time.monotonic() - begun > 60, "it has taken what may be in the hands of somebody"
