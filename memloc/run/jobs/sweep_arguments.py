"""The arguments of the `memloc sweep` that a job runs, on machines that share nothing with this shell but the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memloc.errors import UsageError
from memloc.store import uri as uris


@dataclass(frozen=True)
class SweepArguments:
    """What follows `memloc`, but for the address of the cluster.

    sweep: its name, or the path of its file. options: pairs such as ("--store", "s3://bucket/runs"), in order.
    """

    name: str
    sweep: str
    overrides: Sequence[str]
    options: Sequence[tuple[str, str]]
    flags: Sequence[str] = ()

    def words(self) -> list[str]:
        """The arguments one by one, for a shell to be quoted."""
        return ["sweep", self.sweep, *self.overrides, *(word for pair in self.options for word in pair), *self.flags]


def shared_store(store: str) -> str:
    """The store as all nodes name it.

    Raises:
        UsageError: it is a path that depends on where one stands.
        StoreError: it is no name of a store.
    """
    if (scheme := uris.scheme_of(store)) is not None:
        uris.check(store, scheme)
        return store
    absolute = uris.absolute(store)
    if not Path(store).expanduser().is_absolute():
        raise UsageError(
            f"store {store}: a job needs one that all of its nodes see; name an absolute path on a shared disk, or a URI "
            "such as s3://BUCKET/FOLDER, with --store or MEMLOC_STORE"
        )
    return absolute
