"""Data files whose hashes are right and that are no data files of their table: named, set aside, computed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc import commands
from memloc.analysis import rows as rows_of_trials
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.scan import batches
from memloc.errors import DamagedError, StorageError, StoreError
from memloc.store import Store, footers, generation_layout, layout, schemas, tables
from memloc.store.commit_form import FileEntry
from memloc.store.compaction import compact
from memloc.store.patience import Patience
from memloc.store.verify import verify
from tests.store.compacted import all_parts, assert_same, publish, remove_small, shown
from tests.store.writing import PARTS, ROWS, TRIAL, commit_of, rows_of

TABLE = "predictions"
SCHEMA = known_tables()[TABLE]


def parquet(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink, **schemas.WRITTEN)
    return sink.getvalue().to_pybytes()


def right() -> pa.Table:
    rows = rows_of(0, 0)[TABLE]
    return pa.table({name: pa.array(rows[name], SCHEMA.field(name).type) for name in SCHEMA.names}, schema=SCHEMA)


def other_type(name: str, values: list[Any]) -> pa.Table:
    rows = right()
    return rows.set_column(rows.column_names.index(name), name, pa.array(values))


def damaged_page() -> bytes:
    content = bytearray(parquet(right()))
    content[60] ^= 4
    return bytes(content)


CONTENTS: dict[str, Callable[[], bytes]] = {
    "no Parquet": lambda: b"x" * 1000,
    "nothing": lambda: b"",
    "a damaged page": damaged_page,
    "no text": lambda: parquet(other_type("mode", [b"\xff"] * ROWS)),
    "texts where numbers belong": lambda: parquet(other_type("margin", ["high"] * ROWS)),
    "lists where numbers belong": lambda: parquet(other_type("example", [[1]] * ROWS)),
    "other columns": lambda: parquet(pa.table({"x": range(ROWS)})),
    "a column less": lambda: parquet(right().drop_columns(["margin"])),
    "fewer rows": lambda: parquet(right().slice(1)),
    "more rows": lambda: parquet(pa.concat_tables([right(), right()])),
}


def put_part(store: Store, content: bytes, schema: str = schemas.sha8(SCHEMA)) -> str:
    """Commits these bytes in the place of the first part's rows, every hash right; returns their path."""
    commit = store.commit(commit_of(0, 0, 1.0).id)
    assert commit is not None
    store.files.delete(store.snapshot().paths[commit.id])
    path = layout.data(TABLE, commit.id, content)
    store.files.put(path, content)
    hashes = layout.sha256(content), schema, layout.sha256(footers.footer(content))
    kept = tuple(file for file in commit.files if file.table != TABLE)
    changed = replace(commit, files=(*kept, FileEntry(TABLE, path, ROWS, len(content), *hashes)))
    store.files.put(layout.commit(commit.id, changed.encode()), changed.encode())
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    return store


def check_healed(store: Store, before: dict[str, pa.Table], path: str) -> None:
    """`verify` names the file and sets it aside; what it stood for is computed again, and all is as before."""
    (found,) = [broken for broken in verify(store.files, known_tables())[0] if broken.path == path]
    assert "recomputed by the next sweep" in found.consequence
    assert store.files.size(path) is None
    assert verify(Store(store.uri).files, known_tables())[0] == []
    assert commit_of(0, 0, 1.0).id not in Store(store.uri).snapshot().commits
    publish(store, all_parts(2))
    assert_same(shown(Store(store.uri)), before)


@pytest.mark.parametrize("name", CONTENTS)
def test_rows_of_a_part(store: Store, name: str) -> None:
    before = shown(store)
    path = put_part(store, CONTENTS[name]())
    with pytest.raises(DamagedError, match=path) as found:
        read_table(Store(store.uri), TABLE)
    assert found.value.path == path
    assert read_table(Store(store.uri), "evaluation").num_rows == 2 * PARTS  # everything else is read
    check_healed(store, before, path)


@pytest.mark.parametrize("name", ["texts where numbers belong", "lists where numbers belong", "other columns", "no text"])
def test_a_commit_that_names_no_columns(store: Store, name: str) -> None:
    """Such as one of an earlier version: what the file lacks is NULL, and what it has must fit."""
    before = shown(store)
    path = put_part(store, CONTENTS[name](), schema="")
    with pytest.raises(DamagedError, match=f"{path} (has no column|was committed so, and its rows cannot be read)"):
        read_table(Store(store.uri), TABLE)
    done = compact(store.files, known=known_tables())
    assert done is not None
    assert path in done.left[commit_of(0, 0, 1.0).id]
    check_healed(store, before, path)


def test_a_column_that_an_earlier_version_did_not_write(store: Store) -> None:
    """It is no damage: readers show NULL, a compaction merges it, and `verify` has nothing to say."""
    put_part(store, parquet(right().drop_columns(["margin"])), schema="")
    assert read_table(Store(store.uri), TABLE)["margin"].null_count == ROWS
    done = compact(store.files, known=known_tables())
    assert done is not None
    assert done.left == {}
    assert verify(store.files, known_tables())[0] == []
    assert read_table(Store(store.uri), TABLE)["margin"].null_count == ROWS


@pytest.mark.parametrize(
    "name", ["no Parquet", "a damaged page", "texts where numbers belong", "lists where numbers belong"]
)
def test_a_query_names_the_file(store: Store, name: str) -> None:
    path = put_part(store, CONTENTS[name]())
    with pytest.raises(StoreError, match=path):
        run_sql(Store(store.uri), f"SELECT sum(margin), sum(example), max(analysis) FROM {TABLE}")
    commits = Store(store.uri).snapshot().shown()
    with pytest.raises(StoreError, match=path):
        list(batches(store, list(commits), TABLE, ["margin", "example", "analysis"]))
    assert run_sql(Store(store.uri), "SELECT count(*) AS n FROM evaluation").to_pylist() == [{"n": 2 * PARTS}]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_compaction_leaves_the_part(store: Store, name: str) -> None:
    before = shown(store)
    path = put_part(store, CONTENTS[name]())
    done = compact(store.files, known=known_tables())
    assert done is not None
    assert set(done.left) == {commit_of(0, 0, 1.0).id}
    assert path in done.left[commit_of(0, 0, 1.0).id]
    check_healed(store, before, path)


def test_a_worker_sets_it_aside(store: Store) -> None:
    path = put_part(store, b"x" * 1000)
    reader = Store(store.uri)
    with pytest.raises(DamagedError) as found:
        read_table(reader, TABLE)
    assert reader.set_aside(found.value).endswith("it is set aside, and the same command computes it again")
    assert commit_of(0, 0, 1.0).id not in Store(store.uri).snapshot().commits
    assert path in reader.files.listing("")  # gc removes it


@pytest.mark.parametrize("name", ["no Parquet", "nothing", "without parts", "fewer rows", "damaged page"])
def test_a_generation_file(store: Store, name: str) -> None:
    """The manifest has its hashes, and they are right: the file is named, and its parts alone are computed again."""
    before = shown(store)
    compact(store.files)
    remove_small(store)
    (manifest,) = [p for p in store.files.listing(layout.MANIFESTS) if p.endswith(".json")]
    raw = json.loads(store.files.get(manifest))
    place = next(k for k, file in enumerate(raw["files"]) if file["table"] == TABLE)
    whole = store.files.get(raw["files"][place]["path"])
    page = bytearray(whole)
    page[60] ^= 4
    rows = pq.read_table(pa.BufferReader(whole))
    content = {
        "no Parquet": b"x" * 1000,
        "nothing": b"",
        "without parts": parquet(rows.drop_columns(["_part"])),
        "fewer rows": parquet(rows.slice(100)),
        "damaged page": bytes(page),
    }[name]
    digest = layout.sha256(content)
    path = generation_layout.generation_data(TABLE, 1, digest)
    hashes = {"path": path, "size": len(content), "sha256": digest, "footer": layout.sha256(footers.footer(content))}
    raw["files"][place] |= hashes
    store.files.put(path, content)
    store.files.delete(manifest)
    changed = json.dumps(raw).encode()
    store.files.put(generation_layout.manifest(1, changed), changed)
    for read in (
        lambda: read_table(Store(store.uri), TABLE),
        lambda: run_sql(Store(store.uri), f"SELECT max(analysis) FROM {TABLE} WHERE margin > 0"),
    ):
        if name not in ("without parts", "fewer rows"):  # a scan of whole files asks for neither; `verify` does
            with pytest.raises(StoreError, match=path):
                read()
    assert read_table(Store(store.uri), "evaluation").num_rows == 2 * PARTS
    check_healed(store, before, path)


def test_verify_says_it(store: Store, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = put_part(store, CONTENTS["texts where numbers belong"]())
    monkeypatch.setattr("sys.argv", ["memloc", "store", "verify", "--store", store.uri])
    for code, words in ((3, f"{path}: has other columns than its commit says"), (0, "all as committed")):
        with pytest.raises(SystemExit) as ended:
            commands.main()
        assert (ended.value.code or 0) == code
        assert words in capfd.readouterr().out


# --- faults of the storage while a file is scanned


class Failing:
    """Fails a number of times, as a disk or a server does, then lets everything through."""

    def __init__(self, times: int, scan: Callable[..., Any]) -> None:
        self.left, self.scan = times, scan

    def __call__(self, *given: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise OSError(5, "Input/output error")
        return self.scan(*given, **named)


def test_a_fault_while_a_generation_is_scanned_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the failure of the part that reads the rows."""
    compact(store.files)
    publish(store, [(2, nth) for nth in range(PARTS)])  # so that a scan puts small files between
    expected = read_table(store, TABLE)
    monkeypatch.setattr("memloc.store.patience.FIRST_WAIT", 0.01)
    faults: list[str] = []
    patient = Store(store.uri, Patience(20.0, faults.append))
    failing = Failing(2, tables.MergedDataset._batches)
    monkeypatch.setattr(tables.MergedDataset, "_batches", lambda self, *given: failing(self, *given))
    commits = patient.snapshot().shown()
    assert tables.read(patient.files, commits, TABLE, known_tables()).equals(expected)
    assert next(fault for fault in faults if "Input/output error" in fault).startswith(f"store {store.uri}: table {TABLE} ")
    failing.left = 1
    with pytest.raises(StorageError, match=f"table {TABLE} cannot be read: .*Input/output error"):
        tables.read(Store(store.uri).files, commits, TABLE, known_tables())


def test_a_fault_while_a_generation_is_opened(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    compact(store.files)
    publish(store, [(2, nth) for nth in range(PARTS)])
    failing = Failing(10, tables.MergedDataset._fragment)
    monkeypatch.setattr(tables.MergedDataset, "_fragment", lambda self, *given: failing(self, *given))
    for read in (
        lambda: run_sql(Store(store.uri), f"SELECT count(*) FROM {TABLE}"),
        lambda: rows_of_trials.trial_rows(Store(store.uri), TRIAL, TABLE),
    ):
        with pytest.raises(StorageError, match=f"table {TABLE} cannot be read: .*Input/output error"):
            read()
