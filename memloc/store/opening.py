"""Opens the store that a command means, if it is one."""

from __future__ import annotations

import os

from memloc.errors import StoreError, check_path
from memloc.store import Store

DEFAULT_STORE = "./memloc-store"
REMEDY = "`memloc sweep` makes one, --store URI or MEMLOC_STORE names another"


def store_uri(uri: str | os.PathLike[str] | None = None) -> str:
    """The store that is meant: the argument, else MEMLOC_STORE, else ./memloc-store.

    Raises:
        UsageError: where the argument is neither text nor a path.
    """
    check_path("store", uri)
    return (os.environ.get("MEMLOC_STORE") or DEFAULT_STORE) if uri is None else os.fspath(uri)


def existing(uri: str | os.PathLike[str] | None = None) -> Store:
    """The store that is meant, which must be there.

    Raises:
        StoreError: where there is none, or the URI does not name one.
    """
    store = Store(store_uri(uri))
    if not store.files.exists():
        raise StoreError(f"store {store.uri}: does not exist; {REMEDY}")
    if not store.files.is_store():
        raise StoreError(f"store {store.uri}: is a folder without a store in it; {REMEDY}")
    return store
