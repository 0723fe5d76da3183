"""One statement that only reads, as DuckDB's parser judges it, and the right words for all others."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc.analysis.reading import run_sql
from memloc.errors import UsageError
from memloc.store import Store

READS = [
    ("PIVOT epochs ON epoch IN (1, 2) USING max(loss) GROUP BY trial", ["trial", "1", "2"]),
    ("FROM epochs PIVOT (max(loss) FOR epoch IN (1, 2) GROUP BY trial)", ["trial", "1", "2"]),
    ("SELECT * FROM (PIVOT epochs ON epoch IN (1, 2) USING max(loss) GROUP BY trial)", ["trial", "1", "2"]),
    ("FROM (SELECT trial, loss, lr FROM epochs) UNPIVOT (x FOR name IN (loss, lr))", ["trial", "name", "x"]),
    ("UNPIVOT (SELECT trial, loss, lr FROM epochs) ON loss, lr INTO NAME name VALUE x", ["trial", "name", "x"]),
    ("SHOW TABLES", ["name"]),
    ("WITH x AS (SELECT 1 AS a) FROM x", ["a"]),
    ("VALUES (1, 2)", ["col0", "col1"]),
    ("TABLE trials", None),
    ("DESCRIBE trials", None),
    ("DESCRIBE SELECT loss FROM epochs", None),
    ("SUMMARIZE epochs", None),
    ("SHOW trials", None),
    ("EXPLAIN PIVOT epochs ON epoch IN (1, 2) USING max(loss)", None),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "columns"), READS)
def test_whatever_only_reads_is_answered(tiny: Path, sql: str, columns: list[str] | None) -> None:
    rows = run_sql(Store(str(tiny)), sql)
    assert rows.num_rows > 0
    assert columns is None or rows.column_names == columns


REFUSED = [
    ("SELECT 1; SELECT 2", "SQL: these are 2 statements; ask them one at a time"),
    ("FROM trials; FROM epochs; SHOW TABLES;", "SQL: these are 3 statements; ask them one at a time"),
    ("PIVOT epochs ON epoch USING max(loss)", "SQL: PIVOT without its values runs several statements; add them"),
    ("WITH p AS (PIVOT epochs ON epoch USING max(loss)) FROM p", "SQL: PIVOT without its values"),
    ("EXPLAIN PIVOT epochs ON epoch USING max(loss)", "SQL: PIVOT without its values"),
    ("SELECT 1; DROP VIEW trials", "SQL: DROP is not allowed: a store is only read"),
    ("DROP VIEW trials; CREATE TABLE x (a INT)", "SQL: DROP and CREATE are not allowed: a store is only read"),
    ("PRAGMA database_list", "SQL: PRAGMA is not allowed: a store is only read"),
    ("CALL duckdb_tables()", "SQL: CALL is not allowed: a store is only read"),
    ("SET threads = 1", "SQL: SET is not allowed: a store is only read"),
    ("EXPLAIN ANALYZE SELECT 1", "SQL: EXPLAIN with options executes the statement"),
    ("EXPLAIN DROP VIEW trials", "SQL: DROP is not allowed"),
    ("-- nothing", "SQL: there is no statement in it; valid: one SELECT"),
]


@pytest.mark.parametrize(("sql", "message"), REFUSED)
def test_whatever_else_it_is_is_said(tiny: Path, sql: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        run_sql(Store(str(tiny)), sql)
    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert "\n" not in problem
