"""More sweeps on Ray clusters of other shapes. What guards the same in `make test`: docs/testing.md."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

from memloc.store import Store
from tests import cards
from tests.models import own_nets
from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import SMALL, assert_same, contents, environment, memloc, most_at_once, python, trainings
from tests.run.test_failed_part import failed_and_gone_on, trained

pytestmark = pytest.mark.slow

# Trainings so long that two must overlap, however late the second one starts on a busy machine.
LONG = """
about: Two trainings that take much longer than a process takes to start.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 200, noise: 0.1, epochs: 60, batch_size: 32}
blocks: {long: {axes: {seed: [0, 1]}, stages: {evaluate: {}}}}
"""


THEIRS = """
about: Checkpoints and weights that memloc did not make.
defaults: {dataset: digits, subset: 60, noise: 0.1, batch_size: 20}
blocks:
  given:
    set: {model: "python:nets.py:make"}
    train: {from: theirs, epochs: [0, 3]}
    stages: {rewind: {}}
  first:
    set: {model: "timm:test_resnet", pretrained: true, weights: theirs/first.pt, epochs: 1}
"""

NAMESPACES = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
FIRST, SECOND, *_ = cards.NONE.split(",")  # the GPUs of the tests, by Ray's names
PROGRAM = """
import json, os, sys, time
from memloc.run.placement import Resources
from memloc.run.ray.connect import connected
import ray

@ray.remote(num_gpus=1, num_cpus=0, max_calls=50)
def given(wait):
    time.sleep(wait)
    here = ray.get_runtime_context().get_node_id()
    return os.getpid(), here, [str(i) for i in ray.get_gpu_ids()], os.environ.get("CUDA_VISIBLE_DEVICES")

got = []
with connected(Resources(sys.argv[1]), "test"):
    for _ in range(4):  # the order in which the two end changes, and with it who gets which GPU
        got += ray.get([given.remote(0.3), given.remote(0.6)]) + ray.get([given.remote(0.0)])
print(json.dumps(got))
"""


@pytest.fixture(scope="module")
def two_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started_cluster(tmp_path_factory.mktemp("cpus"), [["--num-cpus=2"]]) as running:
        yield running


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a worker node of one CPU each."""
    with started_cluster(tmp_path_factory.mktemp("nodes"), [["--num-cpus=1"], ["--num-cpus=1"]]) as running:
        yield running


@pytest.fixture(scope="module")
def two_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started_cluster(tmp_path_factory.mktemp("gpus"), [["--num-cpus=2", "--num-gpus=2"]]) as running:
        yield running


@pytest.fixture(scope="module")
def two_nodes_with_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head and a worker node of one CPU and one logical GPU each."""
    with started_cluster(tmp_path_factory.mktemp("mixed"), [["--num-cpus=1", "--num-gpus=1"]] * 2) as running:
        yield running


def test_as_many_trainings_at_once_as_fit(tmp_path: Path, two_cpus: Cluster) -> None:
    """Two of one thread each keep both CPUs busy."""
    (tmp_path / "long.yaml").write_text(LONG)
    done = two_cpus.sweep(tmp_path, str(tmp_path / "long.yaml"), "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    assert contents(tmp_path / "store")["evaluation"].num_rows == 2
    assert most_at_once(trainings(tmp_path)) == 2


def test_two_threads_on_two_cpus(tmp_path: Path, two_cpus: Cluster) -> None:
    """A training that needs every CPU must not wait for one that a coordinator holds."""
    arguments = ("sweep", str(SMALL), "threads=2", "--only", "block=tied")
    at = {"RAY_ADDRESS": two_cpus.address, **two_cpus.secret}
    done = memloc(tmp_path, *arguments, "--address", "auto", "--store", str(tmp_path / "ray"), **at)
    assert done.code == 0, done.err
    inline = memloc(tmp_path, *arguments, "--executor", "inline", "--store", str(tmp_path / "inline"))
    assert inline.code == 0, inline.err
    assert_same(tmp_path / "inline", tmp_path / "ray")


@pytest.mark.skipif(not NAMESPACES, reason="no namespaces of mounts")
def test_a_node_that_cannot_see_the_weights(tmp_path: Path) -> None:
    """The only node that computes has an empty folder in the place of theirs; what is in it gets there nevertheless."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "nets.py").write_text(Path(own_nets.__file__).read_text())
    for epoch in (0, 3):
        torch.manual_seed(epoch)
        torch.save({"model": own_nets.make(1, 16, 16, 10).state_dict()}, theirs / f"net-{epoch}.pt")
    torch.manual_seed(1)
    torch.save(timm.create_model("test_resnet").state_dict(), theirs / "first.pt")
    (tmp_path / "theirs.yaml").write_text(THEIRS)
    script = f'mount -t tmpfs none {theirs} && exec "$@"'
    within = ["unshare", "-m", "sh", "-c", script, "sh"]
    with started_cluster(tmp_path, [["--num-cpus=0"], ["--num-cpus=2"]], within) as cluster:
        done = cluster.sweep(tmp_path, str(tmp_path / "theirs.yaml"), "--store", str(tmp_path / "ray"))
    assert done.code == 0, done.err
    inline = memloc(
        tmp_path, "sweep", str(tmp_path / "theirs.yaml"), "--executor", "inline", "--store", str(tmp_path / "inline")
    )
    assert inline.code == 0, inline.err
    assert_same(tmp_path / "inline", tmp_path / "ray")
    commits = [Store(str(tmp_path / name)).snapshot().trainings() for name in ("inline", "ray")]
    assert {t: c.checkpoints for t, c in commits[0].items()} == {t: c.checkpoints for t, c in commits[1].items()}
    assert sorted(len(c.checkpoints) for c in commits[1].values()) == [2, 2]


def test_attached_to_a_cluster(tmp_path: Path, two_nodes: Cluster, small_store: Path) -> None:
    done = two_nodes.sweep(tmp_path, str(SMALL), "--store", str(tmp_path / "ray"))
    assert done.code == 0, done.err
    assert_same(small_store, tmp_path / "ray")
    lines = done.err.splitlines()  # nothing of dependencies is printed
    assert lines[0].startswith("small: 3 trainings and 57 analysis parts to do; store ")
    assert all(line.startswith("[") and " s] " in line for line in lines[1:]), done.err


def test_all_gpus_stay_visible_to_a_process_that_is_used_again(tmp_path: Path, two_nodes_with_gpus: Cluster) -> None:
    """Else one that has made its CUDA context on the first GPU of a node would go on there when it is given the second."""
    done = python(environment(tmp_path, **two_nodes_with_gpus.secret), "-c", PROGRAM, two_nodes_with_gpus.address)
    assert done.code == 0, done.err
    got = json.loads(done.out.splitlines()[-1])
    assert {(tuple(gpus), visible) for *_, gpus, visible in got} == {((FIRST,), cards.NONE)}
    assert len({node for _, node, *_ in got}) == 2
    assert len({pid for pid, *_ in got}) < len(got)  # processes were used again


def test_a_failed_part_is_retried_then_recorded_while_the_rest_goes_on(
    tmp_path: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory, two_nodes_with_gpus: Cluster
) -> None:
    at = {"RAY_ADDRESS": two_nodes_with_gpus.address, **two_nodes_with_gpus.secret}
    options = ("--address", "auto", "--gpus-per-task", "1")
    failed_and_gone_on(tmp_path, trained(tmp_path_factory, tmp_path), small_store, *options, **at)


def test_two_gpus_of_one_node_stay_visible_to_a_process_that_is_used_again(tmp_path: Path, two_gpus: Cluster) -> None:
    done = python(environment(tmp_path, **two_gpus.secret), "-c", PROGRAM, two_gpus.address)
    assert done.code == 0, done.err
    got = json.loads(done.out.splitlines()[-1])
    assert {tuple(gpus) for *_, gpus, _ in got} == {(FIRST,), (SECOND,)}
    assert {visible for *_, visible in got} == {cards.NONE}
    assert len({pid for pid, *_ in got}) < len(got)  # processes were used again
