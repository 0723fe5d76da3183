"""Ray clusters of separate processes, which tests attach to by `--address` and end by pid."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.run.programs import Finished, environment, kill_tree, memloc, named_below
from tests.waiting import wait_until

RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A running cluster. secret: the variables with which a process logs in. nodes: its processes, the head first."""

    address: str
    secret: dict[str, str]
    nodes: list[subprocess.Popen[bytes]]

    def sweep(self, home: Path, *arguments: str) -> Finished:
        """Runs `memloc sweep ARGUMENTS` on the cluster to its end."""
        return memloc(home, "sweep", *arguments, "--address", self.address, **self.secret)

    def processes(self, name: str) -> list[psutil.Process]:
        """The cluster's processes whose title contains `name` (Ray titles its workers ray::CLASS.method)."""
        return [p for node in self.nodes for p in named_below(node.pid, name)]


@contextmanager
def started_cluster(
    home: Path, nodes: Sequence[Sequence[str]], within: Sequence[str] = (), token: bool = True, jobs: int | None = None
) -> Iterator[Cluster]:
    """A cluster with a node for each list of `ray start`'s options.

    within: begins the command of the last node, such as `unshare` and its options. token: whether the cluster has one. jobs:
    the port of its job server; None: it has none.
    """
    login = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if token else {"RAY_AUTH_MODE": "disabled"}
    secret = {**login, "RAY_USAGE_STATS_ENABLED": "0"}
    scratch = tempfile.mkdtemp(prefix="mlr")  # short: Ray puts sockets below it
    cluster = Cluster(f"127.0.0.1:{free_port()}", secret, [])
    port = cluster.address.split(":")[1]
    server = ["--include-dashboard=false"] if jobs is None else ["--include-dashboard=true", f"--dashboard-port={jobs}"]
    head = ["--head", f"--port={port}", *server, "--no-monitor", f"--temp-dir={scratch}"]
    common = ["--block", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"]
    common.append("--include-log-monitor=false")  # nor an autoscaler's monitor: each is a process that imports Ray
    try:
        with open(home / "nodes.log", "wb") as log:
            for options in nodes:
                role = [f"--address={cluster.address}"] if cluster.nodes else head
                before = within if len(cluster.nodes) + 1 == len(nodes) else ()
                gpus = [] if any(o.startswith("--num-gpus") for o in options) else ["--num-gpus=0"]  # not this machine's
                arguments = [*before, RAY, "start", *role, *common, *gpus, *options]
                process = subprocess.Popen(arguments, env=environment(home, **secret), stdout=log, stderr=log)
                cluster.nodes.append(process)
                # Printed once the head lists the node. A program that attaches before that is refused.
                wait_until(lambda: (home / "nodes.log").read_text().count("Ray runtime started") == len(cluster.nodes))
            yield cluster
    finally:
        for node in reversed(cluster.nodes):
            node.terminate()
        for node in reversed(cluster.nodes):
            try:
                node.wait(45)
            except subprocess.TimeoutExpired:
                kill_tree(node)
        shutil.rmtree(scratch, ignore_errors=True)
