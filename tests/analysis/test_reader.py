"""One locked connection for all queries of a snapshot, with the tables that they name and no others."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from memloc.analysis import reader as reading
from memloc.analysis.connection import interruptible
from memloc.analysis.reader import Reader, known_tables, visible
from memloc.analysis.reading import read_table
from memloc.analysis.views import VIEWS
from memloc.errors import UsageError
from memloc.store import Store, tables


@pytest.fixture
def reader(tiny: Path) -> Iterator[Reader]:
    store = Store(str(tiny))
    opened = Reader(store, visible(store, store.snapshot(), None, False))
    yield opened
    opened.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tables whose files were looked up, in order."""
    names: list[str] = []
    original = tables.dataset

    def noted(files: Any, commits: Any, table: str, known: Any) -> Any:
        names.append(table)
        return original(files, commits, table, known)

    monkeypatch.setattr(tables, "dataset", noted)
    return names


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", []),
        ("SELECT * FROM TRIALS", ["trials"]),
        ('SELECT count(*) FROM "epochs" e JOIN trials USING (trial)', ["trials", "epochs"]),
        ("WITH x AS (FROM rewind) SELECT * FROM x WHERE epoch > (SELECT min(epoch) FROM epochs)", ["epochs", "rewind"]),
        ("FROM flip_counts", ["flips", "analyses"]),  # a view, by what it is made of
        ("SELECT 'flips' AS x", ["flips"]),  # a text that is a table's name may be one: query_table('flips')
        ("FROM query_table('trials')", ["trials"]),
        ("FROM query('SELECT trial FROM trials')", ["trials"]),
        ("DESCRIBE trials", ["trials"]),
        ("SUMMARIZE epochs", ["epochs"]),
        ("EXPLAIN FROM trials", ["trials"]),
        ("SHOW TABLES", []),
        ("SELECT * FROM (SHOW TABLES) JOIN trials ON true", ["trials"]),
    ],
)
def test_only_what_a_query_names_is_looked_up(reader: Reader, asked: list[str], sql: str, expected: list[str]) -> None:
    reader.sql(sql)
    assert sorted(asked) == sorted(expected)


def test_a_table_is_looked_up_once_for_all_queries(reader: Reader, asked: list[str]) -> None:
    for _ in range(3):
        assert reader.sql("SELECT count(*) AS n FROM trials JOIN epochs USING (trial)").to_pylist() == [{"n": 4}]
        assert reader.sql("SELECT count(*) AS n FROM gradient_layers").num_rows == 1
    assert sorted(asked) == ["epochs", "gradients", "trials"]


def test_the_connection_is_opened_once_and_locked_before_the_first_query(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    original = reading.locked
    monkeypatch.setattr(reading, "locked", lambda: opened.append(original()) or opened[-1])
    store = Store(str(tiny))
    reader = Reader(store, visible(store, store.snapshot(), None, False))
    for _ in range(2):
        for setting, value in (("lock_configuration", True), ("enable_external_access", False), ("temp_directory", "")):
            assert reader.sql(f"SELECT current_setting('{setting}') AS x").to_pylist() == [{"x": value}]
        with pytest.raises(UsageError, match="file system operations are disabled"):
            reader.sql("SELECT * FROM read_text('/etc/hostname')")
        reader.sql("FROM trials")
    assert len(opened) == 1
    reader.close()


def test_every_table_and_view_stands_in_the_catalog(reader: Reader) -> None:
    names = reader.sql("SHOW TABLES")["name"].to_pylist()
    assert set(names) == {*known_tables(), *VIEWS}
    columns = "SELECT column_name FROM information_schema.columns WHERE table_name = 'trials' ORDER BY ordinal_position"
    assert reader.sql(columns)["column_name"].to_pylist() == known_tables()["trials"].names
    # What is named beside the catalog has its rows.
    both = "SELECT (SELECT count(*) FROM trials) AS n, count(*) > 5 AS many FROM duckdb_views()"
    assert reader.sql(both).to_pylist() == [{"n": 2, "many": True}]
    assert reader.sql("SELECT count(*) AS n FROM trials").to_pylist() == [{"n": 2}]


def test_what_goes_wrong_leaves_the_reader_as_it_was(reader: Reader) -> None:
    for sql in ("SELECT nothing FROM trials", "SELEC 1", "SELECT 1; SELECT 2", "SELECT error('x') FROM epochs", "FROM nope"):
        with pytest.raises(UsageError, match=r"^SQL: "):
            reader.sql(sql)
    assert reader.sql("SELECT count(*) AS n FROM epochs").to_pylist() == [{"n": 4}]


def test_a_reader_answers_from_its_snapshot(tiny: Path, reader: Reader) -> None:
    for name in ("trials", "rewind", "gradient_layers"):
        assert reader.table(name).equals(read_table(Store(str(tiny)), name))
    with pytest.raises(UsageError, match=r"rewinds: no such table or view \(did you mean 'rewind'"):
        reader.table("rewinds")


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C does here what Python has it do by default."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


LONG = "SELECT count(*) AS n FROM trials, range(1000000000000) AS r (x) WHERE x * x % 7 = 3"


def test_ctrl_c_ends_a_query_and_leaves_the_reader_as_it_was(reader: Reader, ctrl_c: None) -> None:
    typed = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    typed.start()
    with pytest.raises(KeyboardInterrupt):
        reader.sql(LONG)
    typed.join()
    assert reader.sql("SELECT count(*) AS n FROM trials").to_pylist() == [{"n": 2}]


def typed_between(error: BaseException) -> Iterator[pa.RecordBatch]:
    yield pa.record_batch({"x": [1]})
    raise error


@pytest.mark.parametrize(
    ("error", "seen"), [(KeyboardInterrupt(), KeyboardInterrupt), (OSError("KeyboardInterrupt"), duckdb.Error)]
)
def test_ctrl_c_in_a_stream_that_duckdb_reads_is_one(error: BaseException, seen: type[BaseException]) -> None:
    with duckdb.connect(":memory:") as connection:
        rows = pa.RecordBatchReader.from_batches(pa.schema({"x": pa.int64()}), typed_between(error))
        connection.register("rows", rows)
        with pytest.raises(seen), interruptible():
            connection.sql("SELECT sum(x) FROM rows").fetchall()


def test_other_errors_of_duckdb_stay(reader: Reader) -> None:
    with pytest.raises(UsageError, match="KeyboardInterrupt"):
        reader.sql("SELECT 'x' AS a,\nKeyboardInterrupt\nFROM trials")


@pytest.mark.parametrize("table", ["trials", "epochs"])
def test_what_ends_a_query_while_it_looks_a_table_up(reader: Reader, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    original = tables.dataset

    def interrupted(files: Any, commits: Any, name: str, known: Any) -> Any:
        if name == table:
            raise KeyboardInterrupt
        return original(files, commits, name, known)

    asked = "SELECT count(*) AS n FROM gradient_layers, trials JOIN epochs USING (trial)"
    for _ in range(2):
        with monkeypatch.context() as patched:
            patched.setattr(tables, "dataset", interrupted)
            with pytest.raises(KeyboardInterrupt):
                reader.sql(asked)
    assert reader.sql(asked).num_rows == 1
