"""What `store gc` takes away and what it leaves, beside writers and whatever this machine's clock says."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc import stages
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.pulse import new_run
from memloc.store import Files, Store, commits, future_dates, garbage, heartbeats, layout, local, records, run_layout, stops
from memloc.store.compaction import compact
from memloc.store.garbage import COVERED, DATA, FOLDERS, HEARTBEATS, QUARANTINED, STATES, STOPS, TEMPORARY
from memloc.store.local import Info
from memloc.store.verify import verify
from tests.conftest import TINY, planned
from tests.store.compacted import all_parts, publish
from tests.store.writing import commit_of, rows_of

DAY = 86400.0
ORPHAN = f"{3:08x}{0:08x}"  # the first part of analysis 3 of tests/store/writing.py


@pytest.fixture
def disk(tmp_path: Path, tiny: Path) -> Store:
    """A finished store of which everything was written ten days ago."""
    store = Store(str(shutil.copytree(tiny, tmp_path / "store")))
    aged(store)
    return store


def aged(store: Store, *paths: str, days: float = 10.0) -> None:
    """Everything, or these files, were written days ago."""
    then = time.time() - days * DAY
    for path in paths or store.files.listing(""):
        os.utime(Path(store.uri, path), (then, then))


def found(store: Store, grace: float = 7 * DAY) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for piece in garbage.find(store.files, grace, pytest.fail):
        kinds.setdefault(piece.kind, []).append(piece.path)
    return kinds


def removed(store: Store, grace: float = 7 * DAY) -> list[str]:
    return [piece.path for piece in garbage.remove(store.files, garbage.find(store.files, grace, pytest.fail))]


def put(store: Store, path: str) -> str:
    store.files.put(path, b"x")
    return path


def planted(store: Store) -> dict[str, list[str]]:
    """Something of every kind."""
    run, dead = new_run(), new_run()
    heartbeats.write_run(store.files, run, {"state": "running"})
    heartbeats.write(store.files, run, "1" * 16, {"state": "running"})
    heartbeats.write_plan(store.files, run, {})
    for told in (run, dead):
        stops.give(store.files, told)
    commits.publish_tables(store.files, ORPHAN, rows_of(3, 0), stages.tables())
    state = next(p for p in store.files.listing(layout.CHECKPOINTS) if layout.is_resume_state(p))
    store.files.move(put(store, layout.checkpoint("2" * 16, 3)), layout.quarantine(layout.checkpoint("2" * 16, 3)))
    return {
        STATES: [state, *(p for p in store.files.listing(layout.CHECKPOINTS) if layout.is_resume_state(p) and p != state)],
        DATA: [p for p in store.files.listing(layout.DATA) if ORPHAN in p],
        QUARANTINED: [layout.quarantine(layout.checkpoint("2" * 16, 3))],
        HEARTBEATS: [f"heartbeats/{run}/{name}.json" for name in ("1" * 16, "plan", "run")],
        STOPS: [run_layout.stop(run), run_layout.stop(dead)],
        TEMPORARY: [put(store, layout.temporary()), put(store, layout.temporary("probe-"))],
        FOLDERS: [run_layout.run_folder(run)] if store.files.local else [],
    }


def test_exactly_what_nothing_needs(store: Store, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk and in an object store, whose clock alone counts. The sweep is as finished afterwards as it was before."""
    before = store.files.listing("")
    expected = planted(store)
    assert found(store) == {}  # all is young
    clock = store.files.clock()
    assert abs(clock - time.time()) < 60
    monkeypatch.setattr(time, "time", lambda: 0.0)
    monkeypatch.setattr(type(store.files), "clock", lambda files: clock + 7 * DAY + 60)
    assert {kind: sorted(paths) for kind, paths in found(store).items()} == {k: sorted(v) for k, v in expected.items() if v}
    gone = removed(store)
    assert Counter(gone) == Counter(path for paths in expected.values() for path in paths)
    assert found(store) == {}
    monkeypatch.undo()
    kept = {path for path in before if not layout.is_resume_state(path)}
    assert set(store.files.listing("")) == kept
    assert verify(store.files)[0] == []
    again = Store(store.uri)
    assert not [w for w in pending(planned(tmp_path, TINY), again, again.snapshot(), "all") if w.anything]


def test_what_a_commit_lists_stays_also_in_one_that_no_reader_takes(disk: Store) -> None:
    """Two workers have committed one part: `verify` checks the files of both."""
    part = commit_of(3, 0, 1.0)
    other = {**rows_of(3, 0), "evaluation": {**rows_of(3, 0)["evaluation"], "clean_acc": [0.5]}}
    for tables in (rows_of(3, 0), other):
        disk.publish(part, tables, stages.tables())
    aged(disk)
    assert len([p for p in disk.files.listing(layout.DATA) if ORPHAN in p]) == 3  # predictions are the same
    assert DATA not in found(disk)


@pytest.mark.parametrize("content", [b"{", b'{"schema": 99}'], ids=["broken", "later"])
def test_data_of_a_commit_that_cannot_be_read_stays(disk: Store, content: bytes) -> None:
    disk.publish(commit_of(3, 0, 1.0), rows_of(3, 0), stages.tables())
    (path,) = (p for p in disk.files.listing(layout.COMMITS) if ORPHAN in p)
    disk.files.delete(path)
    disk.files.put(path if content == b"{" else layout.commit(ORPHAN, content), content)
    aged(disk)
    assert DATA not in found(disk)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_data_of_commits_behind_a_link_stay(disk: Store, tmp_path: Path, depth: int) -> None:
    """The owner of a store has moved `commits`, a folder of it or a commit to another disk. What is not behind it goes."""
    commit = next(c for c in disk.snapshot().commits.values() if c.files)
    place = "/".join(disk.snapshot().paths[commit.id].split("/")[:depth])
    commits.publish_tables(disk.files, ORPHAN, rows_of(3, 0), stages.tables())
    orphans = {p for p in disk.files.listing(layout.DATA) if ORPHAN in p}
    aged(disk)
    assert not commit.id.startswith(ORPHAN[:2])
    Path(disk.uri, place).rename(tmp_path / "elsewhere")
    Path(disk.uri, place).symlink_to(tmp_path / "elsewhere")
    with pytest.warns(match="symbolic link"):
        kinds = found(disk)
    assert set(kinds.get(DATA, ())) == (set() if depth == 1 else orphans)


def test_data_of_a_store_without_commits_stay(disk: Store, tmp_path: Path) -> None:
    """It is not copied to its end, or a disk is not mounted."""
    shutil.move(Path(disk.uri, layout.COMMITS), tmp_path / "elsewhere")
    Path(disk.uri, layout.COMMITS).mkdir()
    assert disk.files.listing(layout.DATA)
    assert found(disk) == {}


def test_a_damaged_record_is_kept_in_quarantine_until_it_is_written_anew(disk: Store) -> None:
    """`store rm` and the states that the record may need depend on it."""
    (path,) = disk.files.listing(layout.SWEEPS)
    content = disk.files.get(path)
    Path(disk.uri, path).write_bytes(b"[]")
    verify(disk.files)
    aged(disk)
    told: list[list[str]] = []
    assert garbage.find(disk.files, 7 * DAY, told.append) == []
    assert told == [[layout.quarantine(path)]]
    disk.files.put(path, content)
    assert found(disk)[QUARANTINED] == [layout.quarantine(path)]


def test_states_that_are_still_needed_stay(disk: Store, tmp_path: Path) -> None:
    states = sorted(p for p in disk.files.listing(layout.CHECKPOINTS) if layout.is_resume_state(p))
    assert found(disk) == {STATES: states}
    plan = planned(tmp_path, TINY)
    snapshot = disk.snapshot()
    first, second = (trial.id for trial in plan.trials)
    (of_first,), (of_second,) = ([s for s in states if t in s] for t in (first, second))
    # A part of an analysis is missing; then a data file of a training, which its last state gives again.
    part = next(a.part_ids[-1] for a in plan.trials[0].analyses)
    moved = disk.files.get(snapshot.paths[part])
    disk.files.delete(snapshot.paths[part])
    assert found(disk)[STATES] == [of_second]
    disk.files.put(snapshot.paths[part], moved)
    disk.files.delete(snapshot.commits[second].files[0].path)
    assert found(disk)[STATES] == [of_first]
    # The training is not committed.
    disk.files.delete(snapshot.paths[first])
    assert STATES not in found(disk)


def test_another_record_needs_the_states_and_a_damaged_one_may(disk: Store, tmp_path: Path) -> None:
    plan = planned(tmp_path, TINY)
    (trial, *_) = plan.record()
    more = {**trial, "analyses": [{"analysis": "a" * 16, "stage": "flips", "config": {}, "parts": ["b" * 16]}]}
    records.write_sweep(disk.files, "more", [more])
    aged(disk)
    assert all(trial["trial"] not in path for path in found(disk)[STATES])
    (path,) = (p for p in disk.files.listing(layout.SWEEPS) if "/more/" in p)
    Path(disk.uri, path).write_bytes(b"[]")
    aged(disk)
    told: list[list[str]] = []
    assert garbage.find(disk.files, 7 * DAY, told.append) == []
    assert told == [[path]]


def test_a_run_that_beats_keeps_its_plan_and_its_order(disk: Store) -> None:
    """Both were written once, when the run began or was told: ten days ago."""
    run = new_run()
    heartbeats.write_run(disk.files, run, {"state": "running"})
    heartbeats.write_plan(disk.files, run, {})
    stops.give(disk.files, run)
    aged(disk)
    assert set(found(disk)) == {STATES, HEARTBEATS, STOPS, FOLDERS}
    heartbeats.write_run(disk.files, run, {"state": "running"})
    assert set(found(disk)) == {STATES}


@pytest.mark.parametrize("lives", [True, False])
def test_a_run_from_the_future_is_watched(disk: Store, monkeypatch: pytest.MonkeyPatch, lives: bool) -> None:
    """The server's clock was set back after the run began: the date of its plan says nothing, only whether it beats."""
    monkeypatch.setattr(future_dates, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(future_dates, "LOOK_SECONDS", 0.1)
    run = new_run()
    heartbeats.write_run(disk.files, run, {"state": "running"})
    heartbeats.write_plan(disk.files, run, {})
    aged(disk, *disk.files.listing(layout.HEARTBEATS), days=-1000)
    if lives:
        heartbeats.write_run(disk.files, run, {"state": "running"})
    assert found(disk).get(HEARTBEATS, []) == ([] if lives else [f"heartbeats/{run}/{n}.json" for n in ("plan", "run")])
    assert (disk.files.listing(layout.HEARTBEATS).keys() <= set(removed(disk))) == (not lives)


def test_files_of_other_people_and_links_stay(disk: Store, tmp_path: Path) -> None:
    paths = ["tmp/notes.txt", "quarantine/notes.txt", "data/mine.parquet", "stops/notes.json", "heartbeats/x/notes.json"]
    for path in paths:
        put(disk, path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    os.symlink(outside / "file", Path(disk.uri, layout.temporary()))
    shutil.move(Path(disk.uri, "quarantine"), outside)
    os.symlink(outside / "quarantine", Path(disk.uri, "quarantine"))
    put(Store(str(outside)), layout.quarantine(layout.checkpoint("2" * 16, 3)))
    aged(disk)
    aged(Store(str(outside)))
    with pytest.warns(match="symbolic link"):
        assert set(found(disk)) == {STATES}
    removed(disk)
    assert (outside / "file").exists()
    assert all(Path(disk.uri, path).exists() for path in paths)


def writes_again(store: Store) -> None:
    commits.publish_tables(store.files, ORPHAN, rows_of(3, 0), stages.tables())


def commits_again(store: Store) -> None:
    store.publish(commit_of(3, 0, 1.0), rows_of(3, 0), stages.tables())


@pytest.mark.parametrize("write", [writes_again, commits_again])
def test_a_writer_in_between(disk: Store, write: Callable[[Store], None]) -> None:
    """A killed part has left its data. Its successor writes the same bytes while gc is at work."""
    writes_again(disk)
    aged(disk)
    pieces = garbage.find(disk.files, 7 * DAY, pytest.fail)
    orphans = [piece.path for piece in pieces if piece.kind == DATA]
    assert len(orphans) == 2
    write(disk)
    gone = {piece.path for piece in garbage.remove(disk.files, pieces)}
    assert gone == {piece.path for piece in pieces} - set(orphans)
    assert all(disk.files.size(path) for path in orphans)
    assert verify(disk.files)[0] == []


def test_dates_of_listings_may_be_finer_than_those_of_files(disk: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in some object stores."""
    (*_, path) = planted(disk)[DATA]
    aged(disk)
    os.utime(Path(disk.uri, path), (1e9 + 0.789, 1e9 + 0.789))
    real = Files.info

    def whole(files: Files, path: str) -> Info | None:
        info = real(files, path)
        return info and Info(info.size, float(int(info.written)))

    monkeypatch.setattr(Files, "info", whole)
    expected = {path for paths in found(disk).values() for path in paths}
    assert path in expected
    assert set(removed(disk)) == expected


def test_what_was_just_set_aside_is_young(disk: Store) -> None:
    """Somebody may want to look at it."""
    (path, *_) = sorted(disk.files.listing("data/rewind"))
    Path(disk.uri, path).write_bytes(b"")
    aged(disk, path)
    verify(disk.files)
    assert disk.files.size(layout.quarantine(path)) == 0
    assert QUARANTINED not in found(disk)
    aged(disk)
    assert layout.quarantine(path) in found(disk)[QUARANTINED]


def test_small_files_stay_while_the_index_is_not_as_it_was_written(tmp_path: Path) -> None:
    """Readers look at the index by columns. The bytes of the commits lie in one that they do not read."""
    store = Store(str(tmp_path / "store"))
    publish(store, all_parts(2))
    compact(store.files)
    index = next(path for path in store.files.listing(layout.MANIFESTS) if path.endswith(".parquet"))
    content = store.files.get(index)
    aged(store)
    assert found(store)[COVERED]
    Path(store.uri, index).write_bytes(harmed_commits(content))
    aged(store)
    assert Store(store.uri).snapshot().covered  # nobody notices
    assert COVERED not in found(store)


def harmed_commits(content: bytes) -> bytes:
    """The index with a bit changed in its column of the commits' bytes."""
    columns = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0)
    of_commits = columns.column(columns.num_columns - 1)
    assert of_commits.path_in_schema == "commit"
    place = of_commits.dictionary_page_offset + of_commits.total_compressed_size - 5
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("newest", [1.0, -400.0], ids=["an hour ago", "in the future"])
def test_on_a_full_disk(disk: Store, monkeypatch: pytest.MonkeyPatch, newest: float) -> None:
    """It takes no file whose date would tell the time. gc makes room, by the newest date that there is."""
    planted(disk)
    aged(disk)
    young = put(disk, layout.temporary())
    aged(disk, young, days=newest / 24)
    expected = found(disk)
    assert young not in expected[TEMPORARY]

    def full(root: str, path: str, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(local, "write", full)
    assert found(disk) == expected
    assert set(removed(disk)) >= set(expected[DATA])
    assert disk.files.size(young) is not None
