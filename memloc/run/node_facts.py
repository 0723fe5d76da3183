"""What a machine says of itself, for `memloc doctor`: versions, GPUs, disks, and its view of the store. No Ray here."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from memloc.errors import MemlocError
from memloc.store import Store, probing
from memloc.store.probing import Probe
from memloc.version import VERSION

LIBRARIES = ("torch", "ray", "pyarrow")


@dataclass(frozen=True)
class Gpu:
    """A GPU as torch sees it: its name, its memory and what of it is free, in bytes."""

    name: str
    memory: int
    free: int


@dataclass(frozen=True)
class Disk:
    """The file system of a folder, in bytes."""

    folder: str
    total: int
    free: int


@dataclass(frozen=True)
class StoreView:
    """How a machine sees the store.

    problem: why it cannot be written or read; "" if it can. sees_driver: whether what the driver has written can be read.
    probe: what was written. disk: its file system; None on an object store.
    """

    problem: str = ""
    sees_driver: bool = True
    probe: Probe | None = None
    disk: Disk | None = None


@dataclass(frozen=True)
class NodeFacts:
    """A machine. versions: {library: version}. temporary: the file system of Ray's temporary folder.

    unused: an accelerator on which memloc does not train; "" if there is none.
    """

    host: str
    versions: dict[str, str]
    gpus: tuple[Gpu, ...]
    temporary: Disk
    store: StoreView
    unused: str = ""


def node_facts(uri: str, driver: Probe | None, temporary: str) -> NodeFacts:
    """The facts of this machine.

    Args:
        uri: the store; a path must be absolute.
        driver: what the driver has written; None on the driver itself.
        temporary: Ray's temporary folder.
    """
    from memloc.run.worker import unused_accelerator

    view = store_view(uri, driver)
    return NodeFacts(platform.node(), versions(), gpus(), disk(temporary), view, unused_accelerator())


def versions() -> dict[str, str]:
    """The versions that must be equal on all nodes. memloc's has a hash of its code: wheels of one version may differ."""
    libraries = {name: _version(name) for name in LIBRARIES}
    return {"memloc": f"{VERSION} ({code()})", "python": platform.python_version(), **libraries}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def code() -> str:
    """Eight hexadecimal digits that differ where the code of memloc does."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def gpus() -> tuple[Gpu, ...]:
    """The GPUs that torch sees. Asking for free memory makes a context on each, which lives as long as this process."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        free, memory = torch.cuda.mem_get_info(index)
        found.append(Gpu(torch.cuda.get_device_name(index), memory, free))
    return tuple(found)


def disk(folder: str) -> Disk:
    """The file system of a folder, or of the nearest folder above it that is there."""
    path = Path(os.path.abspath(folder))
    while not path.exists() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return Disk(folder, usage.total, usage.free)


def store_view(uri: str, driver: Probe | None) -> StoreView:
    """Writes a probe into the store, and reads the driver's."""
    probe = None
    try:
        files = Store(uri).files
        probe = probing.write(files)
        sees_driver = driver is None or probing.is_seen(files, driver)
        return StoreView("", sees_driver, probe, disk(files.root) if files.local else None)
    except MemlocError as error:
        return StoreView(error.problems[0], False, probe)
