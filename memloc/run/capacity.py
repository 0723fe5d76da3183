"""How many CPUs this process may use, by its affinity and by the limits of its control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def usable_cpus(root: Path = Path("/")) -> int:
    """The CPUs that this process may keep busy, at least 1. A batch system or a container gives fewer than the machine has.

    root: the folder that holds `proc` and `sys`. A limit of 2.5 CPUs counts as 2.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(limit) for limit in _limits(root))]))


def _limits(root: Path) -> Iterator[float]:
    """The CPU limits of every control group that this process is in, for both versions of the interface."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            folders = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        for folder in folders:
            for group in _with_parents(folder, path):
                yield from _limit(group)


def _with_parents(folder: Path, path: str) -> Iterator[Path]:
    """The group and those around it. In a container the path may be the host's, and only the mounted folder exists."""
    group = folder / path.lstrip("/")
    while group != folder and folder in group.parents:
        yield group
        group = group.parent
    yield folder


def _limit(group: Path) -> Iterator[float]:
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")  # version 2, in one file
    if not quota:
        quota, period = _text(group / "cpu.cfs_quota_us").strip(), _text(group / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(period):  # "max" and -1: no limit
        yield int(quota) / int(period)


def _text(path: Path) -> str:
    """What the file says, empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
