"""Readers beside `verify`, which moves files away under them; and over damage that nobody has found yet."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from memloc import commands
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.errors import StoreError, UsageError
from memloc.store import Commit, Files, Snapshot, Store, footers, layout, tables
from memloc.store.verify import verify
from tests.store.conftest import s3_uri
from tests.store.test_concurrency import check
from tests.store.writing import PARTS, ROWS, commit_of, rows_of, with_training
from tests.waiting import LONG

SQL = "SELECT * FROM predictions ORDER BY example"


@pytest.fixture
def whole(store: Store) -> Store:
    """A store of one complete analysis."""
    for nth in range(PARTS):
        store.publish(commit_of(0, nth, 1.0), rows_of(0, nth), known_tables())
    return with_training(store)


def data_of(store: Store, nth: int, table: str = "predictions") -> str:
    commit = store.commit(commit_of(0, nth, 1.0).id)
    assert commit is not None
    return next(f.path for f in commit.files if f.table == table)


def flip(files: Files, path: str, at: int) -> None:
    content = bytearray(files.get(path))
    content[at] ^= 1
    files.put(path, bytes(content))


def by_table(store: Store) -> pa.Table:
    return read_table(store, "predictions").sort_by("example")


def by_sql(store: Store) -> pa.Table:
    return run_sql(store, SQL)


@pytest.mark.parametrize("read", [by_table, by_sql])
def test_what_is_set_aside_while_it_is_read(
    whole: Store, monkeypatch: pytest.MonkeyPatch, read: Callable[[Store], pa.Table]
) -> None:
    """A reader that has listed a part which verify then moves away looks again, and sees the analysis as incomplete."""
    path, looks = data_of(whole, 1), []
    before = Store.snapshot

    def snapshot(self: Store) -> Snapshot:
        found = before(self)
        looks.append(len(found.commits))
        if len(looks) == 1:  # between a reader's first look and its reading
            flip(self.files, path, 100)
            assert [f.path for f in verify(self.files)[0]] == [path]
        return found

    monkeypatch.setattr(Store, "snapshot", snapshot)
    assert read(whole).num_rows == 0
    assert looks == [1 + PARTS, PARTS]
    whole.publish(commit_of(0, 1, 2.0), rows_of(0, 1), known_tables())  # recomputed
    assert read(whole).column("example").to_pylist() == list(range(PARTS * ROWS))


def test_a_duplicate_takes_over(whole: Store) -> None:
    """Of two commits of one part the smaller name is read; set aside, it leaves the other, whose rows are the same."""
    before = by_sql(whole)
    whole.publish(commit_of(0, 2, 5.0), rows_of(0, 2), known_tables())
    first = whole.snapshot().paths[commit_of(0, 2, 0.0).id]
    flip(whole.files, first, 10)
    assert [f.path for f in verify(whole.files)[0]] == [first]
    fresh = Store(whole.uri)
    assert fresh.snapshot().paths[commit_of(0, 2, 0.0).id] != first
    assert by_sql(fresh).equals(before)
    assert verify(whole.files)[0] == []


def test_two_commits_of_one_damaged_file_are_one_finding(whole: Store) -> None:
    whole.publish(commit_of(0, 2, 5.0), rows_of(0, 2), known_tables())
    path = data_of(whole, 2)
    flip(whole.files, path, 100)
    assert [f.path for f in verify(whole.files)[0]] == [path]
    assert len(whole.snapshot().commits) == 1 + PARTS - 1
    assert verify(whole.files)[0] == []


def truncated(files: Files, path: str) -> None:
    files.put(path, files.get(path)[:-20])


def lost(files: Files, path: str) -> None:
    files.delete(path)


def flipped(files: Files, path: str) -> None:
    flip(files, path, pages_end(files.get(path)) - 3)


def pages_end(content: bytes) -> int:
    """Where the rows of a Parquet file end and its footer begins."""
    return len(content) - int.from_bytes(content[-8:-4], "little") - 8


def test_what_goes_between_a_look_and_a_read_is_gone(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow asks for an object's size first; removed then, it is as gone as if it had never been seen."""
    files = Files(s3_uri(s3_server))
    files.put("a", b"1")
    opened = type(files._fs).open_input_file

    class Gone:
        def open_input_file(self, path: str) -> pa.NativeFile:
            stream = opened(files._fs, path)
            files._fs.delete_file(path)
            return stream

        def __getattr__(self, name: str) -> object:
            return getattr(files._fs, name)

    other = Files(files.uri)
    monkeypatch.setattr(other, "_fs", Gone())
    assert other.find("a") is None


@pytest.mark.parametrize("harm", [flipped, truncated, lost])
@pytest.mark.parametrize("read", [by_table, by_sql])
def test_damage_is_an_error_that_names_the_file(
    whole: Store,
    harm: Callable[[Files, str], None],
    read: Callable[[Store], pa.Table],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = data_of(whole, 3)
    harm(whole.files, path)
    with pytest.raises(StoreError, match=f"{path} .*; run `.*memloc store verify --store .*`, then the sweep again"):
        read(whole)
    if read is by_sql:
        monkeypatch.setattr("sys.argv", ["memloc", "query", SQL, "--store", whole.uri])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        out, err = capfd.readouterr()
        assert (ended.value.code, out, len(err.splitlines())) == (3, "", 1)
        assert path in err
    assert run_sql(whole, "SELECT count(*) AS n FROM evaluation").to_pylist() == [{"n": PARTS}]  # the rest goes on


@pytest.fixture
def one_file(tmp_path: Path) -> tuple[Files, list[Commit], bytes]:
    """A store of one part, its commits, and the content of its data file."""
    store = Store(str(tmp_path))
    rows = {"predictions": rows_of(0, 0)["predictions"]}
    store.publish(commit_of(0, 0, 1.0), rows, known_tables())
    return store.files, store.snapshot().shown(partial=True), store.files.get(data_of(store, 0))


def scanned(files: Files, commits: list[Commit]) -> pa.Table:
    """The rows as a query reads them."""
    return tables.dataset(files, commits, "predictions", known_tables()).to_table(use_threads=False)


def test_no_flipped_bit_becomes_a_number(one_file: tuple[Files, list[Commit], bytes]) -> None:
    """A bit of every third byte of pages and page headers, and every second byte of the footer."""
    files, commits, content = one_file
    path, expected = commits[0].files[0].path, scanned(files, commits)
    full, outcomes = files.full(path), Counter[str]()
    end = pages_end(content)
    for at in (*range(0, end, 3), *range(end, len(content), 2)):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        Path(full).write_bytes(changed)
        try:
            same = scanned(files, commits).equals(expected)
            outcomes["unused" if same else "silent"] += 1  # the mark at the beginning, the checksums' own encoding
        except (OSError, StoreError, pa.ArrowException) as error:
            outcomes["footer" if isinstance(error, StoreError) else "page"] += 1
    assert outcomes["silent"] == 0
    assert outcomes["footer"] == len(range(end, len(content), 2))
    assert outcomes["page"] > 100


def test_without_a_hash_of_the_footer_a_bit_can_be_silent(one_file: tuple[Files, list[Commit], bytes]) -> None:
    """So stores of before have it: their files are checked whole by `verify`, and page by page by a query."""
    files, commits, content = one_file
    before = [replace(c, files=tuple(replace(f, footer="") for f in c.files)) for c in commits]
    expected = scanned(files, before)
    changed = content.replace(b"margin", b"nargin")
    assert changed.index(b"nargin") > pages_end(content)
    files.put(commits[0].files[0].path, changed)
    assert scanned(files, before)["margin"].null_count == expected.num_rows
    with pytest.raises(StoreError, match="was changed since it was committed"):
        scanned(files, commits)
    with pytest.raises(StoreError, match="was changed since it was committed"):
        tables.read(files, before, "predictions", known_tables())


def test_a_footer_longer_than_what_is_read_at_once(
    one_file: tuple[Files, list[Commit], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, commits, content = one_file
    expected = scanned(files, commits)
    monkeypatch.setattr(footers, "USUAL", 10)
    assert scanned(files, commits).equals(expected)
    damaged = bytearray(content)
    damaged[-6] ^= 1  # the length of the footer itself
    files.put(commits[0].files[0].path, bytes(damaged))
    with pytest.raises(StoreError, match="was changed since it was committed"):
        scanned(files, commits)


def test_a_commit_of_before_is_read(whole: Store) -> None:
    """Version 2 of the form: without hashes of footers."""
    snapshot, expected = whole.snapshot(), by_sql(whole)
    for path in snapshot.paths.values():
        raw = json.loads(whole.files.get(path))
        content = json.dumps(
            {**raw, "schema": 2, "files": [{k: v for k, v in f.items() if k != "footer"} for f in raw["files"]]}
        ).encode()
        whole.files.delete(path)
        whole.files.put(layout.commit(raw["id"], content), content)
    assert by_sql(Store(whole.uri)).equals(expected)
    assert verify(whole.files)[0] == []


def test_an_error_of_the_query_is_not_the_stores(whole: Store) -> None:
    flipped(whole.files, data_of(whole, 0, "evaluation"))
    with pytest.raises(UsageError, match="SQL: "):
        run_sql(whole, "SELECT error('mine') FROM predictions")


def test_what_fails_once_is_looked_at_again(whole: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is whole again once the reader asks why it could not be read: not the query's fault, and read then."""
    path, before, looks = data_of(whole, 1), Store.snapshot, []
    content = whole.files.get(path)

    def snapshot(self: Store) -> Snapshot:
        found = before(self)
        looks.append(found)
        if len(looks) == 1:
            whole.files.delete(path)
        elif len(looks) == 2:  # recomputed by another, under another name
            whole.publish(commit_of(0, 1, 0.5), rows_of(0, 1), known_tables())
            whole.files.delete(found.paths[commit_of(0, 1, 1.0).id])
        return before(self) if len(looks) == 2 else found

    check = tables.check
    monkeypatch.setattr(tables, "check", lambda *given: (whole.files.put(path, content), check(*given)))
    monkeypatch.setattr(Store, "snapshot", snapshot)
    assert by_sql(whole).num_rows == PARTS * ROWS
    assert len(looks) == 2


@contextlib.contextmanager
def running(action: Callable[[], None]) -> Iterator[list[int]]:
    """Repeats an action in a thread; gives the count of its rounds, and raises what it raised."""
    rounds, stop, problems = [0], threading.Event(), []

    def repeat() -> None:
        try:
            while not stop.is_set():
                action()
                rounds[0] += 1
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield rounds
    finally:
        stop.set()
        thread.join()
        if problems:
            raise problems[0]


def test_readers_writers_and_verify_at_once(uri: str) -> None:
    """verify beside writers finds what was damaged, once, and nothing else; a reader never meets a half-moved part."""
    store = with_training(Store(uri))
    found: list[str] = []
    harmed: set[str] = set()

    def look() -> None:
        try:
            check(uri)
        except StoreError as error:
            if not any(path in str(error) for path in harmed):  # damaged, and not found yet
                raise

    with running(lambda: found.extend(f.path for f in verify(Store(uri).files)[0])) as verified, running(look) as looked:
        for analysis in range(4):
            for nth in range(PARTS):
                store.publish(commit_of(analysis, nth, 1.0), rows_of(analysis, nth), known_tables())
            if analysis % 2:
                commit = store.commit(commit_of(analysis, 1, 1.0).id)
                assert commit is not None
                harmed.add(commit.files[0].path)
                store.files.delete(commit.files[0].path)
                deadline = time.monotonic() + LONG  # a broken loop would never get there
                while commit.files[0].path not in found and time.monotonic() < deadline:
                    time.sleep(0.005)
                store.publish(commit_of(analysis, 1, 2.0), rows_of(analysis, 1), known_tables())
    assert sorted(found) == sorted(harmed)
    assert verified[0] >= len(harmed)
    assert looked[0] >= 1
    assert check(uri) == 4
    assert len(store.files.listing(layout.QUARANTINE)) == len(harmed)  # the commits that listed them
