"""Opens the store that a command means, if it is one."""

from __future__ import annotations

import os

from memloc.errors import StoreError, check_path
from memloc.invocation import command, default_store
from memloc.store import Store

OTHER = "--store URI"


def store_uri(uri: str | os.PathLike[str] | None = None) -> str:
    """The store that is meant: the argument, else MEMLOC_STORE, else ./memloc-store.

    Raises:
        UsageError: where the argument is neither text nor a path.
    """
    check_path("store", uri)
    return default_store() if uri is None else os.fspath(uri)


def existing(uri: str | os.PathLike[str] | None = None, other: str = OTHER) -> Store:
    """The store that is meant, which must be there. other: how whoever asks names another one.

    Raises:
        StoreError: where there is none, or the URI does not name one.
    """
    store = Store(store_uri(uri))
    check_existing(store, other)
    return store


def check_existing(store: Store, other: str = OTHER) -> None:
    """Raises StoreError if the store is not there, or is something else."""
    remedy = f"{command('sweep NAME', store.uri)} makes one, {other} or MEMLOC_STORE names another"
    if not store.files.exists():
        raise StoreError(f"store {store.uri}: does not exist; {remedy}")
    if not store.files.is_store():
        raise StoreError(f"store {store.uri}: is a folder without a store in it; {remedy}")
