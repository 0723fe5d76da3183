"""On what a process works: which GPU it takes (Ray's logical ones), with which numerics, and what commits say of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ray._private.accelerators import AMDGPUAcceleratorManager, NvidiaGPUAcceleratorManager
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import memloc
from memloc.errors import DeviceError
from memloc.models.architectures import resolved
from memloc.run.placement import NOSET, Resources, visible_index
from memloc.run.quarantine import CardPlace
from memloc.run.ray import connect, own_card, workers
from memloc.run.worker import set_up_numerics
from memloc.stages.training.loop import Training
from memloc.store import Store
from tests.numerics import kept_numerics
from tests.stages.conftest import CPU, settings


@pytest.mark.parametrize(
    ("gpu", "visible", "index"),
    [("0", None, 0), ("3", None, 3), ("3", "3", 0), ("6", "2,6,7", 1), (" 6", "2, 6", 1), ("GPU-b", "GPU-a,GPU-b", 1)],
)
def test_by_which_number_a_process_knows_a_gpu(gpu: str, visible: str | None, index: int) -> None:
    assert visible_index(gpu, visible) == index


@pytest.mark.parametrize(
    ("ids", "cuda", "visible", "device"),
    [
        ([2], True, None, "cuda:2"),
        ([2], True, "1,2", "cuda:1"),
        (["GPU-b"], True, "GPU-a,GPU-b", "cuda:1"),
        ([0], False, None, "cpu"),  # Ray's logical GPUs
        ([], True, None, "cpu"),  # a task that holds CPUs
    ],
)
def test_a_task_works_on_the_gpu_that_it_was_given(
    monkeypatch: pytest.MonkeyPatch, ids: list[Any], cuda: bool, visible: str | None, device: str
) -> None:
    monkeypatch.setattr("ray.get_gpu_ids", lambda: ids)
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert str(own_card.own_device()) == device


def test_with_rocm_the_other_variable_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMD's runtime numbers the GPUs of HIP_VISIBLE_DEVICES, and Ray names them by it."""
    monkeypatch.setattr("ray.get_gpu_ids", lambda: [6])
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.version.hip", "7.0")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6")
    assert str(own_card.own_device()) == "cuda:1"


@pytest.mark.parametrize("visible", [None, "0,1", "", "-1"])
def test_a_lost_gpu_is_no_cpu(visible: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training would go on on the node's CPU, for days. Who hides the GPUs, or has none, wants logical places."""
    monkeypatch.setattr("ray.get_gpu_ids", lambda: [1])
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    monkeypatch.setattr(own_card, "NVIDIA", tmp_path / "driver")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert own_card.own_device() == CPU  # without a driver
    (tmp_path / "driver").touch()
    if visible in ("", "-1"):
        assert own_card.own_device() == CPU
    else:
        with pytest.raises(DeviceError, match=r"Ray hands out GPU 1 of .*lost or broken"):
            own_card.own_device()
    monkeypatch.setattr("ray.get_gpu_ids", list)
    assert own_card.own_device() == CPU


@pytest.mark.parametrize(
    ("manager", "variable"),
    [(NvidiaGPUAcceleratorManager, "CUDA_VISIBLE_DEVICES"), (AMDGPUAcceleratorManager, "HIP_VISIBLE_DEVICES")],
)
def test_ray_leaves_all_gpus_visible(monkeypatch: pytest.MonkeyPatch, manager: Any, variable: str) -> None:
    """A process keeps its context, and must see the GPU that it is given next: Ray's own code for both makers."""
    monkeypatch.setenv(variable, "before")
    for name in NOSET:
        monkeypatch.delenv(name, raising=False)
    with monkeypatch.context() as asked:
        for name, value in NOSET.items():
            asked.setenv(name, value)
        manager.set_current_process_visible_accelerator_ids(["3"])
        assert os.environ[variable] == "before"
    manager.set_current_process_visible_accelerator_ids(["3"])
    assert os.environ[variable] == "3"


@pytest.mark.parametrize(("given", "seen"), [({}, "0,1"), ({"HIP_VISIBLE_DEVICES": "1"}, "1")])
def test_slurm_with_amds_cards(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], seen: str) -> None:
    """SLURM sets ROCR_VISIBLE_DEVICES alone, and Ray does not start with it."""
    for name in ("HIP_VISIBLE_DEVICES", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in {"ROCR_VISIBLE_DEVICES": "4,6", **given}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.version.hip", "7.0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    at_start: list[Any] = []

    def init(**options: Any) -> None:
        at_start.append((AMDGPUAcceleratorManager.get_current_process_visible_accelerator_ids(), options["num_gpus"]))

    monkeypatch.setattr(connect.ray, "init", init)
    connect._start(Resources(), "run", None)
    assert at_start == [(seen.split(","), 2)]


def test_every_commit_says_on_what_and_with_which_versions(tiny: Path) -> None:
    commits = Store(str(tiny)).snapshot().commits.values()
    assert commits
    for commit in commits:
        where = commit.where
        assert (where["device"], where["memloc"]) == ("cpu", memloc.__version__)
        assert where["device_name"].startswith(platform.machine())
        libraries = {name: version(name) for name in ("torch", "timm", "numpy", "pyarrow")}
        assert where["versions"] == {**libraries, "python": platform.python_version()}


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets up this process for a training on a GPU, of which the CPU obeys what is asked of PyTorch's operations."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    with kept_numerics():
        yield lambda precision: set_up_numerics(
            resolved(dataset="digits", model="resnet9", precision=precision), torch.device("cuda")
        )


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("tf32", True), ("bf16", True), ("fp16", True)])
def test_tf32_only_where_a_trainings_precision_allows_it(
    as_on_a_gpu: Callable[[str], None], precision: str, tf32: bool
) -> None:
    as_on_a_gpu(precision)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (tf32, tf32)


def test_on_a_gpu_an_operation_without_a_deterministic_algorithm_is_an_error(as_on_a_gpu: Callable[[str], None]) -> None:
    """Not a warning, which a worker's log would hide. `max_unpool2d` has none on a CPU either."""
    pooled, where = F.max_pool2d(torch.rand(1, 1, 4, 4), 2, return_indices=True)
    F.max_unpool2d(pooled, where, 2)
    as_on_a_gpu("fp32")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.backends.cudnn.benchmark
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        F.max_unpool2d(pooled, where, 2)


def test_memory_is_not_filled_before_it_is_written(as_on_a_gpu: Callable[[str], None]) -> None:
    """A step fills as few tensors as without deterministic algorithms. Filling all new ones would be 220 fills."""
    in_progress = Training(*settings(subset=16, batch_size=16), CPU)

    def fills() -> int:
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            in_progress.pass_over(1)
        return sum(event.name == "aten::fill_" for event in profiled.events() or ())

    fills()  # the first step makes the optimizer's state
    usual = fills()
    as_on_a_gpu("fp32")
    assert 0 < fills() == usual


def test_a_process_whose_device_has_failed_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its coordinator hears why before it ends; Ray then tries again in another process."""
    told: list[Any] = []
    admission = SimpleNamespace(failed_device=SimpleNamespace(remote=lambda *said: told.append(said)))
    job: Any = SimpleNamespace(admission=admission, work=SimpleNamespace(trial=SimpleNamespace(id="t")))
    monkeypatch.setattr(workers.ray, "get", lambda reference, timeout: told.append("heard"))
    monkeypatch.setattr(workers.os, "_exit", lambda code: told.append(code))
    monkeypatch.setattr(workers, "_worker", lambda job: SimpleNamespace(device=CPU))
    monkeypatch.setattr(workers, "own_place", lambda: None)
    with workers._working(job):
        raise DeviceError("CUDA error")
    assert told == [("t", "CUDA error", None), "heard", 1]
    with pytest.raises(ValueError, match="of the part itself"), workers._working(job):
        raise ValueError("of the part itself")
    assert len(told) == 3
    # Nobody hears it, and the memory cannot even be freed: the process ends all the same.
    del told[:]

    def fails(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(workers.ray, "get", lambda reference, timeout: fails())
    monkeypatch.setattr("memloc.run.memory.release", fails)
    monkeypatch.setattr(workers, "_worker", lambda job: SimpleNamespace(device=torch.device("cuda")))
    with workers._working(job):
        pass
    assert [said for said in told if said == 1] == [1]
    assert "unspecified launch failure" in told[0][1]
    monkeypatch.setattr(workers, "_worker", fails)  # the card is lost before the task has begun
    with suppress(RuntimeError), workers._working(job):
        told.append("the task")
    assert told[-1] == 1


def test_a_process_says_of_which_card_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both where it has done its work, and where the card has failed."""
    told: list[Any] = []
    admission = SimpleNamespace(
        **{
            name: SimpleNamespace(remote=lambda *said, name=name: told.append((name, *said)))
            for name in ("failed_device", "worked")
        }
    )
    job: Any = SimpleNamespace(admission=admission, work=SimpleNamespace(trial=SimpleNamespace(id="t")))
    monkeypatch.setattr(workers, "_worker", lambda job: SimpleNamespace(device=CPU))
    monkeypatch.setattr(workers.ray, "get", lambda *_, **__: None)
    monkeypatch.setattr(workers.os, "_exit", lambda code: None)
    monkeypatch.setattr("ray.get_gpu_ids", lambda: [3])
    monkeypatch.setattr("ray.get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "node"))
    card = CardPlace("node", platform.node(), "3")
    with workers._working(job):
        pass
    with workers._working(job):
        raise DeviceError("CUDA error")
    assert told == [("worked", card), ("failed_device", "t", "CUDA error", card)]
    monkeypatch.setattr("ray.get_gpu_ids", list)
    with workers._working(job):
        pass
    assert len(told) == 2
