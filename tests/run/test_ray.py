"""Real Ray sessions: one that memloc starts on this machine, and a cluster of two nodes that it attaches to, ended by pid.

All in one file, so that one process of the tests has them: Ray's start and end are waiting, which the other one fills.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from memloc.errors import UsageError
from memloc.run.cluster import resolve
from memloc.run.ray import connect
from tests.run.clusters import Cluster, free_port, started_cluster
from tests.run.moody import RAN_OUT, moody
from tests.run.prepared import Program
from tests.run.programs import (
    SMALL,
    assert_same,
    command,
    contents,
    descendants,
    environment,
    kill_tree,
    memloc,
    most_at_once,
    started,
    terminate_all,
    trainings,
)
from tests.waiting import LONG, wait_until

NOWHERE = "/proc/nowhere"  # no folder can be made there, not even by root


def test_an_order_to_stop_drains_and_one_process_goes_on(tmp_path: Path, small_store: Path) -> None:
    """SIGTERM to all processes, as `timeout` and batch systems send it. One process then goes on without Ray.

    With one CPU: a coordinator that held it would keep a training waiting for ever.
    """
    store, long = tmp_path / "store", tmp_path / "job-1234567.batch" / ("x" * 90 + "für")
    long.mkdir(parents=True)
    arguments = ("sweep", str(SMALL), "--store", str(store))
    with in_a_batch_job(tmp_path, long, *arguments, "--cpus", "1") as process:
        wait_until(lambda: list(store.glob("checkpoints/*/epoch-0001*")))
        _, err = order_and_drain(process, terminate_all, store, small_store)
    assert str(long / "memloc-logs-") in err
    assert [p.name[:12] for p in long.glob("*memloc*")] == ["memloc-logs-"]  # Ray's folder was removed
    assert not (tmp_path / "data").exists()  # a data directory is only read
    names = [Path(short, name) for short in connect.SHORT_FOLDERS if os.path.isdir(short) for name in os.listdir(short)]
    assert not [name for name in names if name.is_symlink() and str(long) in os.readlink(name)]
    done = memloc(tmp_path, *arguments, "--executor", "inline")
    assert done.code == 0, done.err
    assert_same(small_store, store)


def order_and_drain(
    process: Program | subprocess.Popen[str], order: Any, store: Path, whole: Path, how: str = "interrupted"
) -> tuple[str, str]:
    """Orders a sweep that is at work to stop; returns what it has printed. how: what it says of the order."""
    # Of this run: its work has begun, and so its handlers are set.
    wait_until(lambda: descendants(process, "ray::train") or descendants(process, "ray::run_parts"))
    assert_closed_to_others(process)
    order(process)
    out, err = process.communicate(timeout=LONG)
    assert process.returncode == 130, err
    assert re.search(f"{how}; everything committed is kept. To go on: python -m memloc sweep", err)
    assert "Traceback" not in out + err
    assert "Stack" not in out + err  # of Ray's C++
    assert not descendants(process, "ray")
    assert contents(store)["analyses"].num_rows < contents(whole)["analyses"].num_rows
    assert not list(store.glob("heartbeats/*/*.json"))
    return out, err


def assert_closed_to_others(process: Program | subprocess.Popen[str]) -> None:
    """Other machines cannot reach Ray's servers, and other users need its token."""
    servers = ("gcs_server", "raylet", "ray::")
    listening = {(name, ip) for name in servers for child in descendants(process, name) for ip in listens_on(child)}
    assert listening == {(name, "127.0.0.1") for name in servers}
    surroundings = descendants(process, "gcs_server")[0].environ()
    assert (surroundings["RAY_AUTH_MODE"], len(surroundings["RAY_AUTH_TOKEN"])) == ("token", 64)


def listens_on(process: psutil.Process) -> set[str]:
    """The addresses of a process's servers; none if it has just ended."""
    try:
        sockets = process.net_connections("inet")
    except psutil.Error:
        return set()
    return {s.laddr.ip.removeprefix("::ffff:") for s in sockets if s.status == psutil.CONN_LISTEN}


@contextmanager
def in_a_batch_job(home: Path, long: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An interpreter of its own, as Ray reads some of this when it is imported. long: the temporary folder."""
    surroundings = {"TMPDIR": str(long), "HOME": NOWHERE, "MEMLOC_LOGS": ""}
    tokens = {"RAY_AUTH_TOKEN_PATH": NOWHERE, "RAY_AUTH_MODE": "disabled"}  # of some cluster
    process = subprocess.Popen(
        command(*arguments), env={**environment(home), **surroundings, **tokens}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        kill_tree(process)


# --- attached to a cluster ---------------------------------------------------------------------------------------------

THREE = """
about: More trainings than GPUs.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 40, noise: 0.1, epochs: 24, batch_size: 32}
blocks: {three: {axes: {seed: [0, 1, 2]}, stages: {evaluate: {}}}}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a worker node of one CPU and one logical GPU each."""
    nodes = [["--num-cpus=1", "--num-gpus=1"]] * 2
    with started_cluster(tmp_path_factory.mktemp("cluster"), nodes) as running:
        yield running


def used(process: psutil.Process) -> float:
    """Its seconds of CPU."""
    return float(process.cpu_times().user)


def two_train(cluster: Cluster, store: Path) -> bool:
    """Whether both GPUs have a training; the one that has come further stands still in the middle until then."""
    if not list(store.glob("checkpoints/*/epoch-0001*")):  # first, since to list processes takes long
        return False
    running = cluster.processes("ray::train")
    if not running:
        return False
    max(running, key=used).suspend()
    return len(running) == 2


def test_lost_processes_are_replaced_and_a_gpu_is_held_by_one_training_at_a_time(tmp_path: Path, cluster: Cluster) -> None:
    """Three trainings, two GPUs, then analyses on them. A trainer dies in the middle of its training, and admission does.

    All coordinators ask admission how many tasks they may have. The trap: a trial that held its GPU while its analyses wait
    for one would wait for ever.
    """
    (tmp_path / "three.yaml").write_text(THREE)
    arguments, store = ("sweep", str(tmp_path / "three.yaml"), "--store"), tmp_path / "store"
    with started(tmp_path, *arguments, str(store), "--address", cluster.address, **cluster.secret) as process:
        wait_until(lambda: two_train(cluster, store))
        assert not list(store.glob("commits/*/*"))
        for title in ("ray::AdmissionActor", "ray::train"):
            max(cluster.processes(title), key=used).kill()
        _, err = process.communicate(timeout=LONG)
        assert process.returncode == 0, err
    lines = err.splitlines()  # nothing of dependencies is printed
    assert lines[0].startswith("three: 3 trainings and 3 analysis parts to do; store ")
    assert all(line.startswith("[") and " s] " in line for line in lines[1:]), err
    intervals = trainings(tmp_path)
    assert len(intervals) == 3
    assert most_at_once(intervals) <= 2
    done = memloc(tmp_path, *arguments, str(tmp_path / "inline"), "--executor", "inline")
    assert done.code == 0, done.err
    assert_same(tmp_path / "inline", store)


def test_memory_that_runs_out_and_a_device_that_fails(tmp_path: Path, cluster: Cluster) -> None:
    """The process whose device has failed computes nothing more. Memory is missing until activations are computed again.

    A training and a part each come to that at their third attempt, in processes that are used again.
    """
    moods = moody(tmp_path)
    done = memloc(tmp_path, "sweep", str(moods.path), "--executor", "inline", "--store", str(tmp_path / "inline"))
    assert done.code == 0, done.err
    moods.be("short", "fault")
    done = cluster.sweep(tmp_path, str(moods.path), "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    (failed, _), *others = told = moods.told()
    assert [mood for _, mood in told].count("fails") == 1
    assert failed not in {pid for pid, _ in others}
    assert len({pid for pid, _ in others}) <= 2  # one on each GPU, for trainings and parts
    again = f"{RAN_OUT}; in line again, for more room"
    assert [done.err.count(f"{stage}: {again}") for stage in ("train", "gradients")] == [2, 2]
    assert_same(tmp_path / "inline", tmp_path / "store")


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
