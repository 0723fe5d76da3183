"""Which memloc this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _installed

try:
    VERSION = _installed("memloc")
except PackageNotFoundError:  # run from a checkout or a Ray working_dir, without an install
    VERSION = "0+unknown"
