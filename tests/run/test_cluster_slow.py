"""More sweeps on Ray clusters of other shapes. What guards the same in `make test`: docs/testing.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import SMALL, assert_same, contents, environment, memloc, most_at_once, python, trainings
from tests.run.test_ray import PROGRAM

pytestmark = pytest.mark.slow

# Trainings so long that two must overlap, however late the second one starts on a busy machine.
LONG = """
about: Two trainings that take much longer than a process takes to start.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 200, noise: 0.1, epochs: 60, batch_size: 32}
blocks: {long: {axes: {seed: [0, 1]}, stages: {evaluate: {}}}}
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


def test_attached_to_a_cluster(tmp_path: Path, two_nodes: Cluster, small_store: Path) -> None:
    done = two_nodes.sweep(tmp_path, str(SMALL), "--store", str(tmp_path / "ray"))
    assert done.code == 0, done.err
    assert_same(small_store, tmp_path / "ray")
    lines = done.err.splitlines()  # nothing of dependencies is printed
    assert lines[0].startswith("small: 3 trainings and 57 analysis parts to do; store ")
    assert all(line.startswith("[") and " s] " in line for line in lines[1:]), done.err


def test_two_gpus_of_one_node_stay_visible_to_a_process_that_is_used_again(tmp_path: Path, two_gpus: Cluster) -> None:
    done = python(environment(tmp_path, **two_gpus.secret), "-c", PROGRAM, two_gpus.address)
    assert done.code == 0, done.err
    got = json.loads(done.out.splitlines()[-1])
    assert {tuple(gpus) for *_, gpus, _ in got} == {("0",), ("1",)}
    assert {visible for *_, visible in got} == {None}
    assert len({pid for pid, *_ in got}) < len(got)  # processes were used again
