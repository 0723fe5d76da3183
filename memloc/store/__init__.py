"""The store decides what exists: content-addressed files and commits on any filesystem that pyarrow knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from memloc.errors import StoreError
from memloc.store import commits, layout, records
from memloc.store.commits import Commit, Snapshot
from memloc.store.files import Files
from memloc.store.schemas import Schemas

__all__ = ["Commit", "Files", "Snapshot", "Store"]

LOOKS = 3  # how often a reader looks again while files are being set aside

T = TypeVar("T")


class Store:
    """One store. Cheap to make; holds the connection, and the commits it has read (they never change)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = Files(uri)
        self._known: dict[str, Commit] = {}

    def snapshot(self) -> Snapshot:
        return commits.snapshot(self.files, self._known)

    def reading(self, action: Callable[[Snapshot], T]) -> T:
        """`action` on a snapshot; on a newer one where `verify` or a sweep set aside, meanwhile, what it reads."""
        snapshot = self.snapshot()
        for _ in range(LOOKS - 1):
            try:
                return action(snapshot)
            except StoreError:
                newer = self.snapshot()
                if all(newer.paths.get(part_id) == path for part_id, path in snapshot.paths.items()):
                    raise  # all that was read is still committed: it is damaged
                snapshot = newer
        return action(snapshot)

    def commit(self, part_id: str) -> Commit | None:
        """The commit of a part that readers take, or None."""
        return commits.find(self.files, part_id)

    def publish(self, commit: Commit, tables: Mapping[str, Mapping[str, Any]], known: Schemas) -> None:
        """Writes a part's tables, then its commit; known: the schemas of these tables."""
        entries = commits.publish_tables(self.files, commit.id, tables, known)
        commits.publish(self.files, replace(commit, files=entries))

    def quarantine(self, path: str) -> None:
        self.files.move(path, layout.quarantine(path))

    def trials_of(self, sweep: str) -> list[dict[str, Any]]:
        """The trials of a sweep's records, as records.SweepRecord holds them."""
        return records.merged_trials(records.read_sweep(self.files, sweep))
