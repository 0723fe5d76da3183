"""`--address`: a real Ray cluster of separate processes, a head and a worker, ended by pid."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.run.cluster import resolve
from tests.run.clusters import Cluster, free_port, started_cluster
from tests.run.programs import SMALL, assert_same, memloc


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a worker node of one CPU each."""
    with started_cluster(tmp_path_factory.mktemp("cluster"), [["--num-cpus=1"], ["--num-cpus=1"]]) as running:
        yield running


def test_attached_to_a_cluster(tmp_path: Path, cluster: Cluster, small_store: Path) -> None:
    done = cluster.sweep(tmp_path, str(SMALL), "--store", str(tmp_path / "ray"))
    assert done.code == 0, done.err
    assert_same(small_store, tmp_path / "ray")
    lines = done.err.splitlines()  # nothing of dependencies is printed
    assert lines[0].startswith("small: 3 trainings and 57 analysis parts to do; store ")
    assert all(line.startswith("[") and " s] " in line for line in lines[1:]), done.err


def refusal(monkeypatch: pytest.MonkeyPatch, address: str, **environ: str) -> str:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as raised:
        resolve(address)
    (line,) = raised.value.problems
    return line


def test_wrong_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    address, secret = cluster.address, cluster.secret
    wrong = "the cluster refuses the token; it must be the one that the cluster was started with"
    assert wrong in refusal(monkeypatch, address, RAY_AUTH_TOKEN="0" * 64)
    assert wrong in refusal(monkeypatch, "auto", RAY_ADDRESS=address, RAY_AUTH_TOKEN="0" * 64)
    assert wrong in refusal(monkeypatch, address, RAY_AUTH_MODE="disabled")
    assert "there is no token to log in with" in refusal(monkeypatch, address, HOME=str(tmp_path))
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_ADDRESS", address)
    _, port = resolve("auto").split(":")
    assert port == address.split(":")[1]
    assert resolve(address) == address


VERSION = """
import json, sys
from ray._raylet import GcsClient
head = GcsClient(address=sys.argv[1])
known = json.loads(head.internal_kv_get(b"CLUSTER_METADATA", b"cluster"))
known["ray_version"], version = sys.argv[2], known["ray_version"]
head.internal_kv_put(b"CLUSTER_METADATA", json.dumps(known).encode(), True, b"cluster")
print(version)
"""


def test_another_version_of_ray(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> None:
    address, secret = cluster.address, cluster.secret

    def claim(version: str) -> str:
        arguments = [sys.executable, "-c", VERSION, address, version]
        done = subprocess.run(arguments, env={**os.environ, **secret}, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    version = claim("2.9.3")
    try:
        line = refusal(monkeypatch, address, **secret)
    finally:
        claim(version)
    assert line.startswith(f"--address {address}: the cluster runs Ray 2.9.3 on Python 3.")
    assert f"this program Ray {version} on Python" in line


def test_no_cluster_there(tmp_path: Path) -> None:
    done = memloc(tmp_path, "sweep", str(SMALL), "--address", f"127.0.0.1:{free_port()}", "--store", str(tmp_path / "store"))
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "no Ray cluster answers there" in done.err
    assert not os.path.exists(tmp_path / "store")
