"""What a generation makes superfluous: the small files whose rows it has, and the generations before it.

A reader that began before a generation was written still reads what was there then. So nothing goes before the manifest that
replaces it is older than the grace period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memloc.store import entries, generation_layout, generations, layout
from memloc.store.commits import Snapshot
from memloc.store.entries import Listed
from memloc.store.files import Files
from memloc.store.generations import Generation
from memloc.store.local import Info


@dataclass(frozen=True)
class Generations:
    """The manifests and the files of generations. before: what replaces others must have been written before this time.

    manifests, data: {path: its size and date}. order: the manifests in the order in which readers take them.
    """

    manifests: Mapping[str, Info]
    data: Mapping[str, Info]
    order: tuple[str, ...]
    before: float
    files: Files

    def covered(self, data: Mapping[str, Info], snapshot: Snapshot) -> dict[str, Info]:
        """The commits and data files of parts that the present generation covers, and that an old enough one covers too.

        The index and the files of the present generation are hashed first: theirs will be the only commits and rows. Readers
        look at the index by columns, so they do not notice everything that is wrong with it.
        """
        present, old = snapshot.generation, self._old(snapshot.generation)
        small = self.files.infos(layout.COMMITS) | dict(data) if present is not None and old is not None else {}
        if present is None or old is None or not any(layout.part_of(path) in present.commits for path in small):
            return {}
        listed: tuple[Listed, ...] = (*present.manifest.index, *present.files)
        problems = self.files.map(lambda file: entries.look_at(self.files, file)[1], listed)
        broken = {file.path for file, wrong in zip(listed, list(problems), strict=True) if wrong}
        if any(piece.path in broken for piece in present.manifest.index):
            return {}
        whole = present.commits.without(broken)
        both = {part for part in whole if part in old.commits}
        return {path: small[path] for path in layout.own(small) if layout.part_of(path) in both}

    def _old(self, present: Generation | None) -> Generation | None:
        """The newest intact generation whose manifest is old enough."""
        for path in self.order:
            if self.manifests[path].written < self.before:
                known = present if present is not None and path == present.path else generations.read(self.files, path)
                if known is not None:
                    return known
        return None

    def replaced(self) -> dict[str, Info]:
        """The manifests, indexes and data files that no reader needs, also those that an ended compaction has left.

        Where a manifest cannot be read, all of them stay: nobody knows which files it lists.
        """
        listed: set[str] = set()
        for path in self.order:
            generation = generations.read(self.files, path)
            if generation is None:
                return {}
            listed |= {path, *generation.manifest.paths}
            if self.manifests[path].written < self.before:
                break  # every reader that began since then takes this one, or one before it in the order
        every = {**self.manifests, **self.data}
        return {path: every[path] for path in layout.own(every) if path not in listed}


def look(files: Files, before: float) -> Generations:
    """The generations of a store."""
    manifests, data = files.infos(layout.MANIFESTS), files.infos(layout.GENERATIONS)
    paths = filter(generation_layout.is_manifest, manifests)
    return Generations(manifests, data, tuple(generations.sorted_paths(paths)), before, files)
