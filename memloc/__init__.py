"""memloc: where in a neural network do memorized examples live?"""

from __future__ import annotations

# Nothing is imported here, not even `typing`: until the program has begun, Ctrl-C ends it with a traceback of Python's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from memloc.api import open_store
    from memloc.data.registered import register_dataset

    __version__: str

__all__ = ["__version__", "open_store", "register_dataset"]


def __getattr__(name: str) -> object:
    if name == "open_store":  # it imports pyarrow and pandas; `memloc --help` must not pay for them
        from memloc.api import open_store

        return open_store
    if name == "register_dataset":
        from memloc.data.registered import register_dataset

        return register_dataset
    if name == "__version__":
        from memloc.version import VERSION

        return VERSION
    raise AttributeError(f"module 'memloc' has no attribute {name!r}")
