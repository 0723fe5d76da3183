"""Networks with an operation that is not deterministic on a GPU are refused when planned there, by a training step."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from memloc.models.architectures import resolved
from memloc.run import trial_step, worker
from memloc.run.pending import pending
from memloc.run.trial_step import TriedNetwork, nondeterministic_operation, problems
from memloc.store import Store
from tests.conftest import carry_out, planned
from tests.numerics import kept_numerics
from tests.run.programs import memloc
from tests.waiting import LONG, wait_until

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NETS = """
import torch
from torch import nn
from torch.nn import functional as F


class Unpooling(nn.Module):
    def __init__(self, channels, height, width, classes):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.pool, self.back = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
        self.fc = nn.Linear(4 * height * width, classes)

    def forward(self, x):
        pooled, where = self.pool(F.relu(self.conv(x)))
        return self.fc(torch.flatten(self.back(pooled, where), 1))


class Pooling(Unpooling):
    def forward(self, x):
        return self.fc(torch.flatten(F.relu(self.conv(x)), 1))


class Backward(Pooling):
    def __init__(self, *shape):
        super().__init__(*shape)
        self.fc.weight.register_hook(lambda gradient: gradient.clone().put_(torch.tensor([0]), gradient[0, :1]))


class Unlucky(Pooling):
    def __init__(self, *shape):
        super().__init__(*shape)
        self.fc.weight.register_hook(lambda gradient: gradient / [][0])
"""
# `max_unpool2d` has no deterministic algorithm on a CPU either, so a CPU can refuse it.
REFUSED = "max_unpooling2d_forward_out"
LINE = f"torch has no deterministic algorithm for {REFUSED} on a GPU, so its results could not be repeated"
TEXT = """
defaults: {dataset: digits, model: "python:nets.py:Unpooling", subset: 60, noise: 0.1, epochs: 1, batch_size: 20}
blocks:
  a: {axes: {seed: [0, 1], model: ["python:nets.py:Unpooling", resnet9]}, stages: {evaluate: {}}}
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


@pytest.fixture(autouse=True)
def _numerics() -> Iterator[None]:
    with kept_numerics():
        yield


def tried(nets: Path, name: str) -> TriedNetwork:
    config = resolved(dataset="digits", model=f"python:{nets}:{name}", dropout="none")
    return TriedNetwork("3f2a", config.model_copy(update={"architecture": config.architecture.completed()}), (1, 16, 16), 10)


def test_the_operation_is_named(nets: Path) -> None:
    assert nondeterministic_operation(tried(nets, "Unpooling"), CPU) == REFUSED
    assert nondeterministic_operation(tried(nets, "Pooling"), CPU) is None


def test_the_backward_pass_counts(nets: Path) -> None:
    assert nondeterministic_operation(tried(nets, "Backward"), CPU) == "put_"


def test_a_full_gpu_refuses_no_network(nets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may hold its memory now. A mistake of the network keeps its traceback."""
    full: Exception = torch.OutOfMemoryError("CUDA out of memory")

    def fails(*_: object) -> None:
        raise full

    monkeypatch.setattr(trial_step, "Training", fails)
    assert nondeterministic_operation(tried(nets, "Pooling"), CPU) is None
    full = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
    assert nondeterministic_operation(tried(nets, "Pooling"), CPU) is None
    full = RuntimeError("shapes do not fit")
    with pytest.raises(RuntimeError, match="do not fit"):
        nondeterministic_operation(tried(nets, "Pooling"), CPU)


def test_another_process_tries_them(nets: Path) -> None:
    """This one keeps its numerics."""
    names = ("Pooling", "Unpooling")
    assert problems([tried(nets, name) for name in names], CPU) == [
        f"model: python:{nets}:Unpooling: {LINE}; train it with --device cpu, or take another network"
    ]
    assert not torch.are_deterministic_algorithms_enabled()
    assert problems([], CPU) == []


def test_what_nobody_expected_says_which_trial_it_was(nets: Path) -> None:
    with pytest.raises(IndexError, match="list index out of range") as raised:
        problems([tried(nets, "Pooling"), tried(nets, "Unlucky")], CPU)
    text = "".join(traceback.format_exception(raised.value))
    assert "nets.py" in text  # the other process's traceback
    last = text.splitlines()[-1]
    assert last.startswith(
        f"memloc: this ended the training step that tries trial 3f2a (model: python:{nets}:Unlucky) on cpu"
    )
    assert "The sweep has not begun" in last


@pytest.fixture
def with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with a GPU, until something computes on it."""
    monkeypatch.setattr(worker, "default_device", lambda: torch.device("cuda"))
    for module in ("launch", "dry_run"):
        monkeypatch.setattr(f"memloc.commands.{module}.expected_numerics", lambda *_, **__: None)


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_plan_for_a_gpu_here_is_refused(dry: tuple[str, ...], nets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network that memloc did not write is tried once, however many trainings have it."""
    seen: list[tuple[str, str]] = []

    def refusing(networks: list[TriedNetwork], device: torch.device) -> list[str]:
        seen.extend((network.config.model, device.type) for network in networks)
        return ["model: it is refused"]

    monkeypatch.setattr(trial_step, "problems", refusing)
    store, sweep = nets.with_name("store"), nets.with_name("own.yaml")
    sweep.write_text(TEXT)
    done = memloc(nets.parent, "sweep", str(sweep), "--executor", "inline", "--store", str(store), *dry)
    assert (done.code, done.out, done.err.splitlines()[-1]) == (2, "", "memloc: model: it is refused")
    assert seen == [(f"python:{nets}:Unpooling", "cuda")]
    assert not (store / "sweeps").exists()


@pytest.mark.usefixtures("with_a_gpu")
@pytest.mark.parametrize("where", [("--gpus", "0"), ("--address", "head:6379")])
def test_for_a_cpu_or_a_cluster_nothing_is_tried(
    where: tuple[str, ...], nets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_step, "problems", lambda *_: pytest.fail("tried"))
    monkeypatch.setattr("memloc.commands.dry_run.dry_run", lambda *_: None)
    monkeypatch.setattr("memloc.run.cluster._ask", lambda address: {"address": address})
    sweep = nets.with_name("own.yaml")
    sweep.write_text(TEXT)
    done = memloc(nets.parent, "sweep", str(sweep), "--store", str(nets.with_name("store")), "--dry-run", *where)
    assert done.code == 0, done.err


def test_elsewhere_the_training_fails_with_the_same_line(nets: Path) -> None:
    plan = planned(nets.parent, TEXT.replace(", resnet9", ""), "own")
    store = Store(str(nets.with_name("store")))
    torch.use_deterministic_algorithms(True)  # as set_up_numerics does on a GPU
    outcome = carry_out(pending(plan, store, store.snapshot(), "all"), store, nets.parent)
    assert len(outcome.failures) == 2
    assert all(LINE in str(failure) for failure in outcome.failures.values())


def test_a_process_that_imports_the_program_does_not_run_it() -> None:
    """The process that tries networks imports the file that was run as the program."""
    for name in ("cli.py", "memloc/__main__.py"):
        runpy.run_path(str(ROOT / name), run_name="__mp_main__")


TRYING = """
import sys, time, torch
from memloc.models.architectures import resolved
from memloc.run import trial_step
from memloc.run.trial_step import TriedNetwork, problems

real = trial_step.active_children
trial_step.active_children = lambda: time.sleep(1) or real()  # it has time for a traceback

if __name__ == "__main__":
    config = resolved(dataset="digits", model=f"python:{sys.argv[1]}:Endless", dropout="none")
    config = config.model_copy(update={"architecture": config.architecture.completed()})
    print("trying", flush=True)
    try:
        problems([TriedNetwork("3f2a", config, (1, 16, 16), 10)], torch.device("cpu"))
    except KeyboardInterrupt:
        print("interrupted")
"""
ENDLESS = """

class Endless(Pooling):
    def forward(self, x):
        import pathlib, time
        pathlib.Path(__file__).with_name("began").touch()
        time.sleep(1000)
"""


@pytest.mark.parametrize("seconds", [0.5, 1.5, None])  # while the other process imports; None: in the step
def test_ctrl_c_on_a_terminal_ends_it_without_a_word_of_the_other_process(nets: Path, seconds: float | None) -> None:
    """A terminal sends it to all processes of the group."""
    nets.write_text(NETS + ENDLESS)
    script = nets.with_name("trying.py")
    script.write_text(TRYING)
    command = [sys.executable, str(script), str(nets)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "trying\n"
        if seconds is None:
            wait_until(nets.with_name("began").exists)
        else:
            time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=LONG) == ("interrupted\n", "")
