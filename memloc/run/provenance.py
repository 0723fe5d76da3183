"""The device, the library versions and the revision with which something was computed."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from memloc.config import canonical_json
from memloc.run.arithmetic import arithmetic, kind
from memloc.version import VERSION

STATE = 2  # raised whenever the states of trainings hold something else: older ones then serve nothing


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "timm", "numpy", "pyarrow")} | {"python": platform.python_version()}


@lru_cache(maxsize=1)
def _git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def numerics(device: torch.device) -> str:
    """Everything besides the configuration on which the bits of a training depend, and what its states hold."""
    return canonical_json({**arithmetic(device), **_versions(), "state": STATE})


def where(device: torch.device) -> dict[str, Any]:
    """The device and the versions with which something was computed."""
    return {
        "device": device.type,
        "device_name": kind(device),
        "memloc": VERSION,
        "git": _git_revision(),
        "versions": _versions(),
    }
