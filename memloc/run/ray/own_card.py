"""The card that Ray gave to a task: as the device of this process, and as a place of the cluster."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from memloc.errors import DeviceError
from memloc.run.placement import visible_index, visible_variable
from memloc.run.quarantine import CardPlace

if TYPE_CHECKING:
    import torch

NVIDIA, AMD = Path("/proc/driver/nvidia/version"), Path("/dev/kfd")  # there with the driver of such GPUs


def own_place() -> CardPlace | None:
    """The card, or a place for one, that Ray gave to this task; None for a task on CPUs."""
    ids = ray.get_gpu_ids()
    return CardPlace(ray.get_runtime_context().get_node_id(), platform.node(), str(ids[0])) if ids else None


def own_device() -> torch.device:
    """The GPU that Ray gave to this task, if there are any.

    A process keeps its CUDA context between tasks, and sees the GPUs that were visible when it made the context. The next
    task may get another GPU. So all GPUs are visible (`NOSET`), and each task picks its own. Where there are none, Ray's are
    places alone (`ray start --num-gpus`).

    Raises:
        DeviceError: torch can use no GPU of a machine that has some. On its CPU, a training would take days.
    """
    import torch

    ids, visible = ray.get_gpu_ids(), os.environ.get(visible_variable(torch.version.hip))
    if ids and torch.cuda.is_available():
        return torch.device("cuda", visible_index(str(ids[0]), visible))
    driver = NVIDIA if torch.version.cuda else AMD if torch.version.hip else None
    if ids and visible not in ("", "-1") and driver is not None and driver.exists():
        raise DeviceError(
            f"Ray hands out GPU {ids[0]} of {platform.node()}, and torch can use none there: it is lost or broken"
        )
    return torch.device("cpu")
