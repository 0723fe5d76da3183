"""memloc: where in a neural network do memorized examples live?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memloc.version import VERSION

if TYPE_CHECKING:
    from memloc.api import open_store

__all__ = ["__version__", "open_store"]

__version__ = VERSION


def __getattr__(name: str) -> Any:
    # The API imports pyarrow and pandas; `memloc --help` must not pay for them.
    if name == "open_store":
        from memloc.api import open_store

        return open_store
    raise AttributeError(f"module 'memloc' has no attribute {name!r}")
