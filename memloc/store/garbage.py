"""What a store holds that nothing needs any more: left behind by kills, by runs that have ended, and by finished trainings.

A file counts only if it is older than a grace period, by the storage's own clock. A writer's new files are young, and it
writes a file anew, with a new date, before it commits the file. So nothing is taken away from a running writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from memloc.errors import StorageError
from memloc.store import commits, layout, records, run_layout, superseded
from memloc.store.commit_form import Commit
from memloc.store.commits import Snapshot
from memloc.store.files import Files
from memloc.store.future_dates import is_ahead, renewed
from memloc.store.local import Info

COVERED = "small files that a generation has the rows of"
SUPERSEDED = "generations that a newer one replaces"
STATES = "resume states of finished trainings"
DATA = "data files that no commit lists"
QUARANTINED = "files in quarantine/"
HEARTBEATS = "heartbeats of runs that are gone"
STOPS = "orders to stop of runs that are gone"
LEASES = "leases of runs that are gone"
TEMPORARY = "temporary files of interrupted writes"
FOLDERS = "empty folders of runs that are gone"
RESOLUTION = 1.0  # seconds; some object stores give a listed file's date in milliseconds and a single file's in seconds
KINDS = (COVERED, SUPERSEDED, STATES, DATA, QUARANTINED, HEARTBEATS, STOPS, LEASES, TEMPORARY, FOLDERS)


@dataclass(frozen=True)
class Piece:
    """Something that nothing needs. kind: one of KINDS. info: what it was when it was found; None: it is a folder."""

    kind: str
    path: str
    info: Info | None

    @property
    def size(self) -> int:
        """Its bytes."""
        return 0 if self.info is None else self.info.size


def find(files: Files, grace: float, on_damaged: records.OnDamaged) -> list[Piece]:
    """What nothing needs, and what was last written more than `grace` seconds ago. It removes nothing.

    on_damaged: called with the records of sweeps that are damaged or unreadable. What they need is not known, so all resume
    states stay then.
    """
    before = _now(files) - grace
    # The commits are read after the files are listed: what was written first may have been committed meanwhile.
    data, checkpoints = (files.infos(folder) for folder in (layout.DATA, layout.CHECKPOINTS))
    known: dict[str, Commit] = {}
    with files.noting_odd() as odd:  # commits may be behind a link
        generations = superseded.look(files, before)
        snapshot = commits.snapshot(files, known)
    unread = {*snapshot.broken, *snapshot.unreadable, *odd}
    covered, unrenewed = generations.covered(data, snapshot), _unrenewed(files)
    found = [
        *(Piece(COVERED, path, info) for path, info in covered.items()),
        *(Piece(SUPERSEDED, path, info) for path, info in generations.replaced().items()),
        *_unlisted({path: info for path, info in data.items() if path not in covered}, snapshot, known, unread),
        *_states(files, checkpoints, data, snapshot, on_damaged),
        *_of_runs(files, before, unrenewed),
        *_quarantined(files),
        *_named(LEASES, files.infos(layout.LEASES), layout.is_own),  # a living run renews its own
        *_named(TEMPORARY, files.infos(layout.TEMPORARY), layout.is_temporary),
    ]
    old = [piece for piece in found if piece.info is None or piece.info.written < before or piece.path in unrenewed]
    return sorted(old, key=lambda piece: (KINDS.index(piece.kind), piece.path))


def _now(files: Files) -> float:
    """The time by the clock of the storage.

    A disk that is full takes no file whose date would say it, and gc is what makes room. Then the newest date in the store
    counts, if this machine's clock is not behind it. It lies in the past, so more is kept.
    """
    try:
        return files.clock()
    except StorageError:
        newest = max(files.dates("").values(), default=0.0)
        if not newest:
            raise
        return min(newest, time.time())


def remove(files: Files, pieces: Sequence[Piece]) -> Iterator[Piece]:
    """Removes what was found, and yields it. What has been written anew since then stays."""

    def is_removed(piece: Piece) -> bool:
        if piece.info is None:
            return files.delete_folder(piece.path)
        now = files.info(piece.path)
        if now is None or now.size != piece.size or abs(now.written - piece.info.written) > RESOLUTION:
            return False
        files.delete(piece.path)
        return True

    yield from (piece for piece, gone in zip(pieces, files.map(is_removed, pieces), strict=True) if gone)


def _named(kind: str, infos: Mapping[str, Info], is_ours: Callable[[str], bool]) -> list[Piece]:
    return [Piece(kind, path, info) for path, info in infos.items() if is_ours(path)]


def _quarantined(files: Files) -> list[Piece]:
    """A record of a sweep stays until it is written anew: without it, a removal would not know that it must ask."""
    stay = records.quarantined(files)
    found = _named(QUARANTINED, files.infos(layout.QUARANTINE), layout.is_quarantined)
    return [piece for piece in found if piece.path not in stay]


def _unlisted(
    data: Mapping[str, Info], snapshot: Snapshot, known: Mapping[str, Commit], unread: Collection[str]
) -> list[Piece]:
    """The data files that no commit lists. Of a part that may have a commit which cannot be read, all files stay.

    known: every commit, also those of two for one part: `verify` checks the files of both. Where there is none, all files
    stay: perhaps the store is not copied to its end, or a disk is not mounted. So do the files of parts that a generation
    covers, until it is old enough.
    """
    if not known and not snapshot.covered:
        return []
    listed = {entry.path for commit in known.values() for entry in commit.files}
    unlisted = [p for p in layout.own(data) if p not in listed and layout.part_of(p) not in snapshot.covered]
    in_doubt = {part for part in map(layout.part_of, unlisted) if any(layout.may_hold_commit(p, part) for p in unread)}
    return [Piece(DATA, path, data[path]) for path in unlisted if layout.part_of(path) not in in_doubt]


def _states(
    files: Files,
    checkpoints: Mapping[str, Info],
    data: Mapping[str, Info],
    snapshot: Snapshot,
    on_damaged: records.OnDamaged,
) -> list[Piece]:
    """The states of trainings that are committed with all analyses that any sweep plans for them."""
    states = {p: info for p, info in checkpoints.items() if layout.is_own(p) and layout.is_resume_state(p)}
    if not states:
        return []
    sweeps, unknown = records.read_all(files)
    if unknown:
        on_damaged(unknown)
        return []
    begun = records.unfinished(sweeps, snapshot)
    finished = {
        trial
        for trial, commit in snapshot.trainings().items()
        if trial not in begun and (trial in snapshot.covered or _are_there(commit, data))
    }
    by_trial = layout.by_trial(states)
    return [Piece(STATES, path, states[path]) for trial in finished for path in by_trial.get(trial, ())]


def _are_there(commit: Commit, data: Mapping[str, Info]) -> bool:
    return all(e.path in data and data[e.path].size == e.size for e in commit.files)


def _unrenewed(files: Files) -> set[str]:
    """The heartbeats and leases from the future of the storage's clock that nobody writes anew: they count as old.

    A living run renews its own within seconds. Where a disk is full no run can, and none counts as old.
    """
    folders = (layout.HEARTBEATS, layout.LEASES)
    dates = {path: date for folder in folders for path, date in files.dates(folder).items()}
    try:
        now = files.clock() if dates else 0.0
    except StorageError:
        return set()
    ahead = {path: date for path, date in dates.items() if is_ahead(date, now)}
    return ahead.keys() - renewed(files, folders, ahead)


def _of_runs(files: Files, before: float, unrenewed: Collection[str]) -> list[Piece]:
    """Heartbeats and orders to stop of runs of which nothing was written since `before`. unrenewed: they count as old.

    A run's plan is written once, so its date says nothing: the newest file of a run says whether the run is gone.
    """
    beats = {path: info for path, info in files.infos(layout.HEARTBEATS).items() if layout.is_own(path)}
    newest: dict[str, float] = {}
    for path, info in beats.items():
        run = run_layout.run_of(path)
        newest[run] = max(newest.get(run, 0.0), 0.0 if path in unrenewed else info.written)
    alive = {run for run, written in newest.items() if written >= before}
    orders = {path: info for path, info in files.infos(layout.STOPS).items() if layout.is_own(path)}
    gone = [run for run in newest if run not in alive]
    empty = [path for path, changed in files.empty_folders(layout.HEARTBEATS).items() if changed < before]
    return [
        *(Piece(HEARTBEATS, path, info) for path, info in beats.items() if run_layout.run_of(path) not in alive),
        *(Piece(STOPS, path, info) for path, info in orders.items() if run_layout.stopped_run(path) not in alive),
        *(Piece(FOLDERS, path, None) for path in [*empty, *map(run_layout.run_folder, gone)] if files.local),
    ]
