"""`memloc doctor` on real clusters of two nodes, of which one has a folder, a memloc or a token of its own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import SMALL, command, environment

pytestmark = pytest.mark.slow

NODES = [["--num-cpus=1"]] * 2
NAMESPACES = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


def examined(home: Path, cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """An interpreter of its own: Ray reads how to log in when it is imported."""
    program = command("doctor", *arguments, "--address", cluster.address)
    return subprocess.run(program, env=environment(home, **cluster.secret), capture_output=True, text=True, check=False)


def wrong(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith("wrong")]


def test_a_good_cluster(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with started_cluster(tmp_path, NODES) as cluster:
        done = examined(tmp_path, cluster, str(SMALL), "--store", str(store))
        assert (done.returncode, done.stderr) == (0, ""), done
        assert f"{store}: 2 nodes and the driver read and write it" in done.stdout
        assert "every training and every part fits on a node" in done.stdout
        assert "the cluster asks for it, and takes this one" in done.stdout
        assert not store.exists()
        done = examined(tmp_path, cluster, str(SMALL), "threads=2", "--store", str(store))
        assert done.returncode == 1
        assert "threads: 2 is more than any node's CPUs" in wrong(done)[0]
        for node in cluster.nodes:
            node.kill()
            node.wait()
        for process in cluster.processes("gcs_server"):
            process.kill()
        begun = time.monotonic()
        done = examined(tmp_path, cluster, "--store", str(store))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert time.monotonic() - begun < 30


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces of mounts")
@pytest.mark.parametrize(
    ("mount", "says"),
    [
        (["-t", "tmpfs", "none"], "is another folder there than on the driver's node"),
        (["-t", "tmpfs", "-o", "ro", "none"], "cannot be written: [Errno 30] Read-only"),
    ],
)
def test_a_shared_folder_that_is_not_shared(tmp_path: Path, mount: Sequence[str], says: str) -> None:
    """The second node has another file system in the place of the store."""
    (tmp_path / "store").mkdir()
    script = f'mount {" ".join(mount)} {tmp_path / "store"} && exec "$@"'
    within = ["unshare", "-m", "sh", "-c", script, "sh"]
    with started_cluster(tmp_path, NODES, within) as cluster:
        done = examined(tmp_path, cluster, "--store", str(tmp_path / "store"))
    assert done.returncode == 1, done
    (line,) = wrong(done)
    assert says in line
    assert os.listdir(tmp_path / "store") == []


def test_a_node_with_another_library_and_a_cluster_without_a_token(tmp_path: Path) -> None:
    metadata = tmp_path / "other" / "pyarrow-0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: pyarrow\nVersion: 0.1\n")
    within = ["env", f"PYTHONPATH={tmp_path / 'other'}"]
    with started_cluster(tmp_path, NODES, within, token=False) as cluster:
        done = examined(tmp_path, cluster, "--store", str(tmp_path / "store"))
    assert done.returncode == 1, done
    (line,) = wrong(done)
    assert f"has pyarrow 0.1, the driver {pa.__version__}; install the same on every node" in line
    assert "note   token" in done.stdout
