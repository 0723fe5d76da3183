"""The store decides what exists: content-addressed files and commits on any filesystem that pyarrow knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from memloc.store import commits, layout, records
from memloc.store.commits import Commit, Snapshot
from memloc.store.files import Files

__all__ = ["Commit", "Files", "Snapshot", "Store"]


class Store:
    """One store. Cheap to make; holds no state but the connection."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = Files(uri)

    def snapshot(self) -> Snapshot:
        return commits.snapshot(self.files)

    def commit(self, part_id: str) -> Commit | None:
        """The commit of a part that readers take, or None."""
        found = sorted(p for p in self.files.listing(layout.commit_folder(part_id)) if layout.is_commit_of(p, part_id))
        for path in found:
            content = self.files.get(path)
            if layout.is_intact(path, content):
                return Commit.decode(content)
        return None

    def publish(self, commit: Commit, tables: Mapping[str, Mapping[str, Any]]) -> None:
        """Writes a part's tables, then its commit."""
        entries = commits.publish_tables(self.files, commit.id, tables)
        commits.publish(self.files, replace(commit, files=entries))

    def quarantine(self, path: str) -> None:
        if self.files.size(path) is not None:
            self.files.move(path, layout.quarantine(path))

    def trials_of(self, sweep: str) -> list[dict[str, Any]]:
        """The trials of a sweep's records, as records.SweepRecord holds them."""
        return records.merged_trials(records.read_sweep(self.files, sweep))
