"""Ray's logical GPUs, on a cluster of one node that has two: who holds which, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import contents, environment, most_at_once, python, trainings
from tests.run.test_ray import LONG


@pytest.fixture(scope="module")
def two_gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started_cluster(tmp_path_factory.mktemp("gpus"), [["--num-cpus=2", "--num-gpus=2"]]) as running:
        yield running


def test_a_gpu_is_held_by_one_training_at_a_time_and_then_by_analyses(tmp_path: Path, two_gpus: Cluster) -> None:
    """Three trainings, two GPUs. The trap: a trial that held its GPU while its analyses wait for one would wait for ever."""
    (tmp_path / "long.yaml").write_text(LONG.replace("[0, 1]", "[0, 1, 2]"))
    done = two_gpus.sweep(tmp_path, str(tmp_path / "long.yaml"), "--store", str(tmp_path / "store"))
    assert done.code == 0, done.err
    assert contents(tmp_path / "store")["evaluation"].num_rows == 3
    intervals = trainings(tmp_path)
    assert len(intervals) == 3
    assert most_at_once(intervals) == 2


PROGRAM = """
import json, os, sys, time
from memloc.run.placement import Resources
from memloc.run.ray.connect import connected
import ray

@ray.remote(num_gpus=1, num_cpus=0, max_calls=50)
def given(wait):
    time.sleep(wait)
    return os.getpid(), [str(i) for i in ray.get_gpu_ids()], os.environ.get("CUDA_VISIBLE_DEVICES")

got = []
with connected(Resources(sys.argv[1]), "test"):
    for _ in range(4):  # the order in which the two end changes, and with it who gets which GPU
        got += ray.get([given.remote(0.3), given.remote(0.6)]) + ray.get([given.remote(0.0)])
print(json.dumps(got))
"""


def test_all_gpus_stay_visible_to_a_process_that_is_used_again(tmp_path: Path, two_gpus: Cluster) -> None:
    """Else one that has made its CUDA context on the first GPU would go on there when it is given the second."""
    done = python(environment(tmp_path, **two_gpus.secret), "-c", PROGRAM, two_gpus.address)
    assert done.code == 0, done.err
    got = json.loads(done.out.splitlines()[-1])
    assert {tuple(gpus) for _, gpus, _ in got} == {("0",), ("1",)}
    assert {visible for *_, visible in got} == {None}
    assert len({pid for pid, *_ in got}) < len(got)  # processes were used again
