"""A cluster with two kinds of devices, as one of A100 and H100 would be: what was begun on one kind goes on there.

Both nodes are on this machine, with logical GPUs. On one of them torch takes its plainest kernels, which reach other bits.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memloc.data import load
from memloc.run.arithmetic import kind
from memloc.run.pending import pending
from memloc.run.trainer import run_training
from memloc.run.worker import Worker
from memloc.store import Store
from tests.conftest import planned
from tests.run.clusters import Cluster, started_cluster
from tests.run.programs import command, contents, encoded, environment, memloc

pytestmark = pytest.mark.slow
SWEEP = """
about: Trainings and the gradients along them.
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.1, epochs: 4, batch_size: 20}
blocks: {mixed: {axes: {seed: [0, 1]}, stages: {gradients: {epochs: [1, 2, 3, 4]}, evaluate: {}}}}
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A head that is as this process, and a node of another kind; a logical GPU each."""
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has only the plainest kernels")
    other = "env", "ATEN_CPU_CAPABILITY=default"
    with started_cluster(tmp_path_factory.mktemp("mixed"), [["--num-cpus=2", "--num-gpus=1"]] * 2, other) as running:
        yield running


def test_what_was_begun_goes_on_where_the_same_bits_come_out(tmp_path: Path, mixed: Cluster) -> None:
    """One training has lost its checkpoints, one was stopped after an epoch. Either node alone would be free for them."""
    (tmp_path / "mixed.yaml").write_text(SWEEP)
    arguments = ("sweep", str(tmp_path / "mixed.yaml"), "--store")
    done = memloc(tmp_path, *arguments, str(tmp_path / "inline"), "--executor", "inline")
    assert done.code == 0, done.err
    store = begun(tmp_path)
    done = mixed.sweep(tmp_path, *arguments[1:], str(store))
    assert done.code == 0, done.err
    assert done.err.count("train waits for") <= 2
    one, other = contents(tmp_path / "inline"), contents(store)
    for table in ("epochs", "examples", "gradients"):  # evaluation may run anywhere
        assert encoded(one[table]) == encoded(other[table]), table
    weights = [
        {p.name + p.parent.name: p.read_bytes() for p in s.glob("checkpoints/*/epoch-*")}
        for s in (tmp_path / "inline", store)
    ]
    assert weights[0] == weights[1]
    commits = Store(str(store)).snapshot().commits.values()
    assert {c.where["arithmetic"]["device"] for c in commits if c.checkpoints} == {kind(torch.device("cpu"))}
    assert done.err.count("trained in") == 2
    # Neither needs a kind before it begins: they train side by side, and the gradients along each follow it.
    done = mixed.sweep(tmp_path, *arguments[1:], str(tmp_path / "new"), "seed=2..5")
    assert done.code == 0, done.err
    trained = [
        c.where["arithmetic"]["device"] for c in Store(str(tmp_path / "new")).snapshot().commits.values() if c.checkpoints
    ]
    assert len(trained) == 4
    assert len(set(trained)) == 2, "both nodes should have trained"
    assert contents(tmp_path / "new")["gradients"].num_rows


def test_where_nothing_can_join_it_fails_at_once(tmp_path: Path) -> None:
    """On a single machine of another kind: a lost checkpoint, and gradients along a training. The rest is done."""
    (tmp_path / "mixed.yaml").write_text(SWEEP)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "mixed.yaml").write_text(SWEEP.replace("gradients: {epochs: [1, 2, 3, 4]}, ", ""))
    store = tmp_path / "store"
    there = environment(tmp_path, ATEN_CPU_CAPABILITY="default")
    arguments = command("sweep", str(tmp_path / "bare" / "mixed.yaml"), "--executor", "inline", "--store", str(store))
    subprocess.run(arguments, env=there, check=True, capture_output=True)
    first, second = (t.id for t in planned(tmp_path, SWEEP, "mixed").trials)
    shutil.rmtree(store / "checkpoints" / first)
    done = memloc(tmp_path, "sweep", str(tmp_path / "mixed.yaml"), "--store", str(store), "--cpus", "2")
    assert done.code == 1, done.err
    here = kind(torch.device("cpu"))
    other = f"{platform.machine()} DEFAULT"
    says = f"waits for {other}: this machine has {here} alone now, and what was begun on {other} reaches the same bits"
    assert f"memloc: failed: train of trial {first}: {says}" in done.err
    assert f"memloc: failed: gradients of trial {second}: {says}" in done.err
    assert contents(store)["evaluation"].num_rows


def begun(folder: Path) -> Path:
    """A store with the training of seed 0 without its checkpoints, and that of seed 1 up to its first epoch."""
    store = Store(str(folder / "store"))
    first, second = pending(planned(folder, SWEEP, "mixed"), store, store.snapshot(), "all")
    worker = Worker(store, lambda source: load(source, folder), torch.device("cpu"))
    assert run_training(worker, first)
    reached: list[int] = []
    assert not run_training(worker, second, lambda epoch, row: reached.append(epoch), lambda: 1 in reached)
    assert reached == [0, 1]
    shutil.rmtree(folder / "store" / "checkpoints" / first.trial.id)
    return folder / "store"
