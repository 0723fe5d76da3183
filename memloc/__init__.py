"""memloc: where in a neural network do memorized examples live?"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memloc.api import open_store

__all__ = ["__version__", "open_store"]

try:
    __version__ = version("memloc")
except PackageNotFoundError:  # run from a checkout or a Ray working_dir, without an install
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    # The API imports pyarrow and pandas; `memloc --help` must not pay for them.
    if name == "open_store":
        from memloc.api import open_store

        return open_store
    raise AttributeError(f"module 'memloc' has no attribute {name!r}")
