"""The CPUs that a process may use: affinity, and the limits of control groups in both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from memloc.run.capacity import usable_cpus

V2 = "0::/job/step\n"
V1 = "12:cpuset:/\n4:cpu,cpuacct:/job/step\n1:name=systemd:/x\n"


def tree(root: Path, cgroup: str, **files: str) -> Path:
    """A root folder with this /proc/self/cgroup and these files below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cpus"),
    [
        ("", {}, 8),  # no control groups
        (V2, {"job/step/cpu.max": "max 100000\n"}, 8),
        (V2, {"job/step/cpu.max": "400000 100000\n"}, 4),
        (V2, {"job/step/cpu.max": "250000 100000\n"}, 2),  # a fraction rounds down
        (V2, {"job/step/cpu.max": "50000 100000\n"}, 1),  # but never to none
        (V2, {"job/step/cpu.max": "max 100000\n", "job/cpu.max": "300000 100000\n"}, 3),  # the group around it counts too
        (V2, {"job/step/cpu.max": "600000 100000\n", "job/cpu.max": "200000 100000\n"}, 2),
        (V2, {"job/step/cpu.max": "1600000 100000\n"}, 8),  # more than the affinity allows
        ("0::/\n", {"cpu.max": "500000 100000\n"}, 5),  # in a container
        ("0::/docker/abc\n", {"cpu.max": "500000 100000\n"}, 5),  # in a container that sees the host's path
        ("0::/../outside\n", {"cpu.max": "500000 100000\n"}, 5),
        (V2, {"unified/job/step/cpu.max": "200000 100000\n"}, 2),  # both versions are mounted
        (V2, {"job/step/cpu.max": "nonsense\n"}, 8),
        (V2, {"job/step/cpu.max": "100000 0\n"}, 8),
        (V1, {"cpu,cpuacct/job/step/cpu.cfs_quota_us": "400000\n", "cpu,cpuacct/job/step/cpu.cfs_period_us": "100000\n"}, 4),
        (V1, {"cpu/job/step/cpu.cfs_quota_us": "150000\n", "cpu/job/step/cpu.cfs_period_us": "50000\n"}, 3),
        (V1, {"cpu/job/step/cpu.cfs_quota_us": "-1\n", "cpu/job/step/cpu.cfs_period_us": "100000\n"}, 8),
        (V1, {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),  # in a container
        (V1, {"cpuset/cpu.cfs_quota_us": "200000\n", "cpuset/cpu.cfs_period_us": "100000\n"}, 8),  # not the CPUs' own group
    ],
)
def test_limits_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cgroup: str, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert usable_cpus(tree(tmp_path, cgroup, **files)) == cpus


def test_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree(tmp_path, V2, **{"job/step/cpu.max": "600000 100000\n"})
    for allowed, cpus in (({5}, 1), ({0, 3, 9}, 3), (set(range(64)), 6)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, allowed=allowed: allowed)
        assert usable_cpus(root) == cpus


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
