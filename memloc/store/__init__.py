"""The store decides what exists: content-addressed files and commits on any filesystem that pyarrow knows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from memloc.errors import DamagedError, MemlocWarning, MiscommittedError, StoreError, error_line, without_secrets
from memloc.store import commits, layout
from memloc.store.commit_form import Commit
from memloc.store.commits import Snapshot
from memloc.store.files import Files
from memloc.store.generations import Generation
from memloc.store.patience import Patience
from memloc.store.schemas import Schemas

__all__ = ["Commit", "Files", "Patience", "Snapshot", "Store"]

NAMED = 5  # files in one warning
LOOKS = 3  # how often a reader tries while files are being set aside

T = TypeVar("T")


class Store:
    """One store. It is cheap to make. It holds the connection and the commits that it has read (they never change)."""

    def __init__(self, uri: str, patience: Patience | None = None) -> None:
        """patience: how long it waits for a storage that fails; by default not at all."""
        self.uri = uri
        self.files = Files(uri, patience)
        self.files.on_odd = self.left_out
        self._known: dict[str, Commit] = {}
        self._generations: dict[str, Generation] = {}
        self._named: set[str] = set()  # files that a warning has named
        self._warnings: set[Hashable] = set()

    def snapshot(self) -> Snapshot:
        """What is committed now.

        Warns:
            MemlocWarning: naming the commits and manifests that this version of memloc cannot read, each once.
        """
        snapshot = commits.snapshot(self.files, self._known, self._generations)
        self.left_out(snapshot.unreadable)
        return snapshot

    def left_out(self, problems: Mapping[str, str]) -> None:
        """Warns of files that are passed over, each once. problems: {path: why, as the rest of a sentence}."""
        if new := problems.keys() - self._named:
            self._named |= new
            why = "; ".join(f"{path} {problems[path]}" for path in sorted(new)[:NAMED])
            more = f"; and {len(new) - NAMED} more" if len(new) > NAMED else ""
            self.warn(frozenset(new), lambda: f"store {self.uri}: left out: {why}{more}")

    def reading(self, action: Callable[[Snapshot], T]) -> T:
        """`action` on a snapshot. If `verify` or a sweep sets files aside meanwhile, it is repeated on a newer snapshot."""
        snapshot = self.snapshot()
        for _ in range(LOOKS - 1):
            try:
                return action(snapshot)
            except StoreError:
                newer = self.snapshot()
                if all(newer.paths.get(part_id) == path for part_id, path in snapshot.paths.items()):
                    raise  # everything that was read is still committed, so it is damaged
                snapshot = newer
        return action(snapshot)

    def commit(self, part_id: str, placed: bool = False) -> Commit | None:
        """The commit of a part, or None. placed: with the places where its rows lie now, for `tables.read`."""
        return commits.find(self.files, part_id, self._generations, placed)

    def publish(self, commit: Commit, tables: Mapping[str, Mapping[str, Any]], known: Schemas) -> None:
        """Writes a part's tables, then its commit; known: the schemas of these tables."""
        entries = commits.publish_tables(self.files, commit.id, tables, known)
        commits.publish(self.files, replace(commit, files=entries))

    def publish_once(self, commit: Commit, tables: Mapping[str, Mapping[str, Any]], known: Schemas) -> Commit:
        """The same, unless the part is committed by now. Returns the commit that counts."""
        entries = commits.publish_tables(self.files, commit.id, tables, known)
        return commits.publish_once(self.files, replace(commit, files=entries), self._generations)

    def quarantine(self, path: str) -> None:
        """Moves a file to `quarantine/`, where no reader looks."""
        self.files.move(path, layout.quarantine(path))

    def set_aside(self, damage: DamagedError) -> str:
        """Moves what lists the damaged file to quarantine, or the damaged file of a generation: its parts count as not done.

        Returns the error in one line, with what to do now.
        """
        moved = False
        with suppress(StoreError):
            snapshot = self.snapshot()
            taken = snapshot.generation  # another process may have set aside the one that was read
            if damage.path.startswith(f"{layout.MANIFESTS}/") and taken is not None and damage.path in taken.manifest.paths:
                self.quarantine(taken.path)  # it goes before its index
            if damage.path.startswith((f"{layout.MANIFESTS}/", f"{layout.GENERATIONS}/")):
                self.quarantine(damage.path)
                moved = True
            for path, commit in self._known.items():  # of two commits of one part both: files of equal content are one
                listed = commit.checkpoints if isinstance(damage, MiscommittedError) else commit.needed
                if commit.id not in snapshot.covered and any(file.path == damage.path for file in listed):
                    self.quarantine(path)
                    moved = True
        if moved:
            return f"{damage.problem}; it is set aside, and the same command computes it again"
        return error_line(damage, with_type=False)

    def warn(self, subject: Hashable, message: Callable[[], str]) -> None:
        """Warns of something in the store, once for all readers of this object.

        subject: what the warning is about. message: makes its text, which is asked for only where it is shown.
        """
        if subject not in self._warnings:
            self._warnings.add(subject)
            warnings.warn(without_secrets(message()), MemlocWarning, stacklevel=3)
