"""Removes a sweep from a store: its records, and whatever no other sweep's record needs.

The records are set aside first, then the commits go, then the files. So a reader never sees a part without its files or an
analysis without its training. While the records lie in `removals/`, the removal is not complete, and can go on from them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from memloc.errors import StoreError, UsageError, nearest
from memloc.store import commits, generations, layout, records
from memloc.store.commit_form import Commit
from memloc.store.compaction import compact
from memloc.store.files import Files
from memloc.store.index_columns import PlacedEntry
from memloc.store.records import SweepRecord


@dataclass(frozen=True)
class Removal:
    """What a removal takes away.

    names: NAME@sha8 of the records. records: their paths. set_aside: those of a removal that was not completed. trainings:
    ids. analyses, last: the commits of analyses, and of trainings, which go last. files: {path: bytes} of data, checkpoints
    and records of failures. covered: {part in a generation: about how many bytes it has there}. shared: {trial that stays:
    NAME@sha8 of a sweep that needs it}.
    """

    names: tuple[str, ...]
    records: Mapping[str, int]
    set_aside: Mapping[str, int]
    trainings: frozenset[str]
    analyses: Mapping[str, int] = field(default_factory=dict)
    last: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    covered: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)


def plan(files: Files, name: str) -> Removal:
    """What the removal of a sweep's name, or of NAME@sha8, takes away. It removes nothing.

    Raises:
        UsageError: where the store has no such sweep.
        StoreError: where a record cannot be read, so that nobody knows what it needs.
    """
    recorded, set_aside = _of_name(files, name)
    every, unread = records.read_all(files)
    begun, unread_begun = records.read_all(files, layout.REMOVALS)
    own = [r for r in every if _path(r) in recorded] + [r for r in begun if layout.removal(_path(r)) in set_aside]
    if not own:  # one that was set aside is damaged; if the sweep is launched again, its new record says what it needs
        unread += [path for path in unread_begun if path in set_aside]
    if unread:
        remedy = "launch that sweep again, which writes it anew, or update memloc if a later one wrote it"
        if layout.is_quarantined(unread[0]):
            remedy = "launch that sweep again, which writes it anew, or delete that file if nobody needs that sweep"
        elif files.size(unread[0]) is None:
            remedy = "memloc follows no link in a store; put there what the link leads to"
        raise StoreError(f"store {files.uri}: {unread[0]} cannot be read, so nobody knows what it needs; {remedy}")
    others = [r for r in every if _path(r) not in recorded]
    names = tuple(dict.fromkeys(f"{r.name}@{r.sha}" for r in own))
    kept = _ids(others)
    trainings = frozenset(t["trial"] for r in own for t in r.trials) - kept
    shared = {t["trial"]: f"{r.name}@{r.sha}" for r in others for t in r.trials}
    shared = {t["trial"]: shared[t["trial"]] for r in own for t in r.trials if t["trial"] in shared}
    return _with_content(files, Removal(names, recorded, set_aside, trainings, shared=shared), _ids(own) - kept)


def _path(record: SweepRecord) -> str:
    return layout.sweep_named(record.name, record.sha)


def _of_name(files: Files, name: str) -> tuple[dict[str, int], dict[str, int]]:
    """({path: bytes} of the records that a name means, of those that an earlier removal has set aside)."""
    base, at, sha = name.partition("@")
    found = [files.listing(folder) for folder in (layout.SWEEPS, layout.REMOVALS)]
    names = sorted({layout.sweep_of(path) for one in found for path in layout.own(one)})
    if base not in names:
        have = ", ".join(names) or "none"
        raise UsageError(f"{base or repr(base)}: no such sweep in store {files.uri}{nearest(base, names)}; it has: {have}")
    of_base = [{path: size for path, size in one.items() if layout.is_own(path) and layout.sweep_of(path) == base}
               for one in found]  # fmt: skip
    recorded, set_aside = ({p: n for p, n in one.items() if not at or layout.record_sha(p) == sha} for one in of_base)
    if not recorded and not set_aside:
        valid = ", ".join(sorted({f"{base}@{layout.record_sha(path)}" for one in of_base for path in one}))
        raise UsageError(f"{name}: no such record in store {files.uri}; valid: {valid}")
    return recorded, set_aside


def _ids(sweeps: Iterable[SweepRecord]) -> set[str]:
    """The ids of all trainings and parts in these records."""
    trials = [trial for record in sweeps for trial in record.trials]
    return {t["trial"] for t in trials} | {part for t in trials for a in t["analyses"] for part in a["parts"]}


def _with_content(files: Files, removal: Removal, ids: Collection[str]) -> Removal:
    """The removal with everything that belongs to these trainings and parts, or to a part of a training that goes."""
    known: dict[str, Commit] = {}
    snapshot = commits.snapshot(files, known)
    every = (*known.values(), *snapshot.covered.values())
    ids = {*ids, *(commit.id for commit in every if commit.trial in removal.trainings)}
    own = {p: size for p, size in files.listing(layout.COMMITS).items() if layout.is_own(p) and layout.part_of(p) in ids}
    content = {p: size for p, size in files.listing(layout.DATA).items() if layout.is_own(p) and layout.part_of(p) in ids}
    content |= {p: size for p, size in files.listing(layout.FAILURES).items() if layout.is_failure_of(p, ids)}
    stored = files.listing(layout.CHECKPOINTS)
    for trial, paths in layout.by_trial(layout.own(stored)).items():  # or a part that made a network
        if trial in ids:
            content |= {path: stored[path] for path in paths}
    last = {path: size for path, size in own.items() if layout.part_of(path) in removal.trainings}
    analyses = {path: size for path, size in own.items() if path not in last}
    covered = {part: _bytes_within(snapshot.covered[part]) for part in snapshot.covered if part in ids}
    return replace(removal, analyses=analyses, last=last, files=content, covered=covered)


def _bytes_within(commit: Commit) -> int:
    """About how many bytes a part's rows have in generation files."""
    placed = [entry for entry in commit.files if isinstance(entry, PlacedEntry)]
    return sum(round(entry.within.size * entry.rows / max(entry.within.rows, 1)) for entry in placed)


def remove(files: Files, removal: Removal) -> Iterator[str]:
    """Carries out a removal, and yields what has gone. If it is ended half-way, a new plan of the same name goes on."""
    for path in removal.records:
        files.move(path, layout.removal(path))
    yield from _deleted(files, sorted(removal.analyses))  # each step ends before the next begins
    # A compaction that has ended since the plan covers parts that had commits of their own.
    taken_out = _take_out(files, {*removal.covered, *map(layout.part_of, (*removal.analyses, *removal.last))})
    yield from _deleted(files, sorted(removal.last))
    yield from _deleted(files, sorted(removal.files))
    if taken_out or removal.set_aside:
        yield from _deleted(files, _older_generations(files))
    set_aside = {*removal.set_aside, *map(layout.removal, removal.records)}
    names = {layout.sweep_of(path) for path in set_aside}
    emptied = layout.by_trial(removal.files)
    for folder in (*map(layout.checkpoints, sorted(removal.trainings | emptied.keys())), *map(layout.sweep_folder, names)):
        files.delete_folder(folder)
    yield from _deleted(files, sorted(set_aside))
    for name in names:
        files.delete_folder(layout.removal_folder(name))


def _take_out(files: Files, parts: Collection[str]) -> bool:
    """Writes a generation without these parts, until none of them is covered: another compaction may just have ended.

    Returns whether one was written.
    """
    written = False
    while _are_covered(files, parts) and compact(files, without=parts.__contains__) is not None:
        written = True
    return written


def _are_covered(files: Files, parts: Collection[str]) -> bool:
    """Has the generation that readers take any of these parts?"""
    taken = generations.look(files, {}).taken
    return taken is not None and any(part in taken.commits for part in parts)


def _older_generations(files: Files) -> list[str]:
    """The files that only manifests list which readers do not take any more, then these manifests.

    A manifest above the one that readers take is none that they can take. It stays, with what it lists.
    """
    taken, order = generations.look(files, {}).taken, generations.in_order(files)
    if taken is None or taken.path not in order:
        return []
    place = order.index(taken.path)
    kept = taken.manifest.paths | _listed(files, order[:place])
    older = order[place + 1 :]
    return [*sorted(_listed(files, older) - kept), *older]


def _listed(files: Files, manifests: Iterable[str]) -> set[str]:
    """The files that those of these manifests list which can be read."""
    listed: set[str] = set()
    for path in manifests:
        with suppress(ValueError):
            manifest = generations.read_manifest(files, path)
            listed |= manifest.paths if manifest is not None else set()
    return listed


def _deleted(files: Files, paths: Sequence[str]) -> Iterator[str]:
    def delete(path: str) -> str:
        files.delete(path)
        return path

    return files.map(delete, paths)
