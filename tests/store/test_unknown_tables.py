"""A table whose writer the reader does not know: its columns are those of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.errors import StoreError
from memloc.store import Commit, Store, entries, schemas, table_content, tables
from tests.store.writing import with_training

ONE = pa.schema([("analysis", pa.string()), ("trial", pa.string()), ("x", pa.int64())])
MORE = ONE.append(pa.field("y", pa.list_(pa.string())))
OTHER = ONE.set(2, pa.field("x", pa.string()))


def write(store: Store, nth: int, schema: pa.Schema, **columns: Any) -> None:
    rows = {"analysis": ["b" * 16], "trial": ["a" * 16], **columns}
    commit = Commit(f"{nth:016x}", "a" * 16, "b" * 16, "elsewhere", {"nth": nth}, nth, 3, {})
    store.publish(commit, {"strange": rows}, {"strange": schema})


def test_of_several_schemas_the_union(tmp_path: Path) -> None:
    """What a later version of the writer added is NULL in the rows of before, whichever file comes first."""
    store = with_training(Store(str(tmp_path)), "a" * 16)
    write(store, 0, ONE, x=[1])
    write(store, 1, MORE, x=[2], y=[["p", "q"]])
    write(store, 2, ONE, x=[3])
    expected = [(1, None), (2, ["p", "q"]), (3, None)]
    assert "strange" not in known_tables()
    table = read_table(store, "strange")
    assert table.schema.equals(MORE)
    assert list(zip(table["x"].to_pylist(), table["y"].to_pylist(), strict=True)) == expected
    rows = run_sql(store, "SELECT x, y FROM strange ORDER BY x").to_pylist()
    assert [(r["x"], r["y"]) for r in rows] == expected
    assert run_sql(store, "DESCRIBE strange")["column_name"].to_pylist() == MORE.names
    assert "strange" in run_sql(store, "SHOW TABLES")["name"].to_pylist()


def test_one_file_of_each_schema_is_read_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = with_training(Store(str(tmp_path)), "a" * 16)
    write(store, 0, ONE, x=[1])
    write(store, 1, MORE, x=[2], y=[None])
    write(store, 2, ONE, x=[3])
    read: list[str] = []
    original = entries.read_entry
    monkeypatch.setattr(table_content, "read_entry", lambda files, entry: read.append(entry.path) or original(files, entry))
    tables.dataset(store.files, store.snapshot().shown(partial=False), "strange", known_tables())
    assert len(read) == 2


def test_schemas_that_do_not_fit_together(tmp_path: Path) -> None:
    store = with_training(Store(str(tmp_path)), "a" * 16)
    write(store, 0, ONE, x=[1])
    write(store, 1, OTHER, x=["text"])
    write(store, 2, ONE, x=[3])
    with pytest.raises(StoreError, match="the files of table strange do not fit together"):
        read_table(store, "strange")
    assert run_sql(store, "SELECT count(*) AS n FROM analyses").to_pylist() == [{"n": 1}]  # everything else is read


def test_a_schema_is_named_by_its_columns_and_their_types() -> None:
    names = [schemas.sha8(s) for s in (ONE, MORE, OTHER, pa.schema(list(reversed(ONE))))]
    assert len(set(names)) == 4
    assert schemas.sha8(pa.schema(list(ONE))) == names[0]
