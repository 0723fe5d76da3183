"""`--address`: a real Ray cluster of separate processes, a head and a worker, ended by pid."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.run.programs import SMALL, assert_same, environment, kill_tree, memloc, wait_until

RAY = str(Path(sys.executable).with_name("ray"))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(address, environment to attach with) of a head and a worker node of one CPU each."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    scratch = tempfile.mkdtemp(prefix="mlr")  # short: Ray puts sockets below it
    address = f"127.0.0.1:{free_port()}"
    common = ["--block", "--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
    head = [
        "--head",
        f"--port={address[10:]}",
        "--node-ip-address=127.0.0.1",
        "--include-dashboard=false",
        f"--temp-dir={scratch}",
    ]
    nodes: list[subprocess.Popen[bytes]] = []
    log = open(tmp_path / "nodes.log", "wb")  # noqa: SIM115
    try:
        for arguments in (head, [f"--address={address}", "--node-ip-address=127.0.0.1"]):
            nodes.append(
                subprocess.Popen(
                    [RAY, "start", *arguments, *common], env=environment(tmp_path, **secret), stdout=log, stderr=log
                )
            )
            wait_until(lambda: _raylets(nodes) == len(nodes), 90)
        yield address, secret
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in reversed(nodes):
            try:
                node.wait(45)
            except subprocess.TimeoutExpired:
                kill_tree(node)
        log.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _raylets(nodes: list[subprocess.Popen[bytes]]) -> int:
    count = 0
    for node in nodes:
        names = [child.name() for child in psutil.Process(node.pid).children(recursive=True)]
        count += "raylet" in names
    return count


def test_attached_to_a_cluster(tmp_path: Path, cluster: tuple[str, dict[str, str]]) -> None:
    address, secret = cluster
    inline = memloc(tmp_path, "sweep", str(SMALL), "--executor", "inline", "--store", str(tmp_path / "inline"))
    assert inline.code == 0, inline.err
    done = memloc(tmp_path, "sweep", str(SMALL), "--address", address, "--store", str(tmp_path / "ray"), **secret)
    assert done.code == 0, done.err
    assert_same(tmp_path / "inline", tmp_path / "ray")
    # The cluster is not ours: it lives on, and serves a second sweep.
    again = memloc(tmp_path, "sweep", str(SMALL), "noise=0.2", "--address", "auto", "--max-trials", "1",
                   "--store", str(tmp_path / "ray"), RAY_ADDRESS=address, **secret)  # fmt: skip
    assert again.code == 0, again.err


def test_no_cluster_there(tmp_path: Path) -> None:
    done = memloc(tmp_path, "sweep", str(SMALL), "--address", f"127.0.0.1:{free_port()}", "--store", str(tmp_path / "store"))
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "no Ray cluster answers there" in done.err
    assert not os.path.exists(tmp_path / "store")
