"""SQL over a store: what is admitted is exactly what runs, and every answer has a form that holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from memloc.analysis.admitted_sql import admit
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.views import VIEWS
from memloc.commands.query import Format, render
from memloc.errors import UsageError
from memloc.store import Store


@pytest.fixture
def connection() -> Iterator[Any]:
    with duckdb.connect(":memory:") as opened:
        yield opened


def asked(store: Path, sql: str) -> Any:
    return run_sql(Store(str(store)), sql)


# A text in which a naive reader of comments and strings sees one SELECT, and DuckDB sees more (or the other way round).
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '/*'; CREATE TABLE x AS SELECT 1; SELECT '*/'",
        "SELECT '--'; DROP VIEW trials",
        'SELECT 1 AS "/*"; DROP VIEW trials; SELECT 1 AS "*/"',
        "SELECT $$ /* $$; DROP VIEW trials; SELECT $$ */ $$",
        "EXPLAIN SELECT '/*'; DROP VIEW trials; SELECT '*/'",
        "EXPLAIN /* a */ -- b\n /* c */ ANALYZE SELECT 1",
        "/* /* */ DROP VIEW trials; */ SELECT 1",
        "SELECT 1;; SELECT 2",
    ],
)
def test_disguises_are_seen_through(connection: Any, sql: str) -> None:
    with pytest.raises((UsageError, duckdb.Error)):
        admit(connection, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '--' AS x",
        "SELECT '/* no comment */' AS x",
        'SELECT 1 AS "--"',
        "-- a comment\nSELECT 1",
        "/* a */ SELECT 1 -- b",
        "SELECT 1;",
        "FROM trials",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "VALUES (1)",
        "DESCRIBE trials",
        "SHOW TABLES",
    ],
)
def test_what_is_admitted_gives_rows(tiny: Path, sql: str) -> None:
    assert asked(tiny, sql).num_rows > 0


@pytest.mark.parametrize("sql", ["EXPLAIN SELECT 1", "/* a */ explain -- b\n SELECT 1", "ExPlAiN FROM trials"])
def test_an_explanation_is_a_plan_and_not_the_rows(tiny: Path, sql: str) -> None:
    assert asked(tiny, sql).column_names == ["explain_key", "explain_value"]


def test_text_in_an_answer_is_what_was_written(tiny: Path) -> None:
    assert asked(tiny, "SELECT '--a' AS a, '/*b*/' AS b -- c").to_pylist() == [{"a": "--a", "b": "/*b*/"}]


def test_what_is_run_is_what_was_parsed(tiny: Path) -> None:
    """DuckDB's scanner nests no comments; should one day it do, the text behind the first */ still runs as it was judged."""
    assert asked(tiny, "/* /* */ SELECT '*/ DROP VIEW trials; --' AS a").to_pylist() == [{"a": "*/ DROP VIEW trials; --"}]


def test_columns_of_one_name_are_told_apart(tiny: Path) -> None:
    rows = asked(tiny, "SELECT 1 AS a, 2 AS a, 3 AS a_1, 4 AS a")
    assert rows.to_pylist() == [{"a": 1, "a_1": 2, "a_1_1": 3, "a_2": 4}]
    twice = asked(tiny, "SELECT *, * FROM trials")
    assert twice.num_columns == 2 * len(known_tables()["trials"])
    for form in Format:
        assert render(twice, form)


def test_a_long_query_draws_no_progress_bar_among_its_rows(tiny: Path) -> None:
    assert asked(tiny, "SELECT current_setting('enable_progress_bar') AS bar").to_pylist() == [{"bar": False}]


def test_json_is_json_whatever_the_numbers(tiny: Path) -> None:
    sql = """SELECT sum(epoch) AS whole, 1.5::DECIMAL(4, 2) AS exact, 'nan'::DOUBLE AS nan, NULL AS nothing,
                    [1 / 0, 0.5] AS list, {'x': '-inf'::DOUBLE} AS struct, DATE '2020-02-03' AS day, 'é' AS text
             FROM epochs"""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    (row,) = json.loads(render(asked(tiny, sql), Format.json), parse_constant=refuse)
    assert row == {
        "whole": 6,  # epochs 1 and 2 of two trainings
        "exact": 1.5,
        "nan": None,
        "nothing": None,
        "list": [None, 0.5],
        "struct": {"x": None},
        "day": "2020-02-03",
        "text": "é",
    }


@pytest.mark.parametrize("form", Format)
def test_no_rows_have_a_form_too(tiny: Path, form: Format) -> None:
    content = render(asked(tiny, "SELECT trial, noise FROM trials WHERE false"), form)
    assert b"trial" in content or form is Format.json
    assert form is not Format.json or json.loads(content) == []


def test_a_table_that_is_not_there_says_which_are(tiny: Path) -> None:
    with pytest.raises(UsageError) as caught:
        asked(tiny, "SELECT * FROM trails")
    assert caught.value.problems == (
        "SQL: no table trails (did you mean 'trials'?); valid: " + ", ".join((*known_tables(), *VIEWS)),
    )
    with pytest.raises(UsageError, match="did you mean 'trials'"):
        read_table(Store(str(tiny)), "trails")


def test_a_table_read_whole_is_what_sql_selects(tiny: Path) -> None:
    for name in known_tables():
        assert read_table(Store(str(tiny)), name).equals(asked(tiny, f"FROM {name}").cast(known_tables()[name]))


@pytest.mark.parametrize(
    "value",
    [
        "'10101'::BIT",
        "340282366920938463463374607431768211455::UHUGEINT",
        "TIMETZ '12:30:00+02'",
        "99999999999999999999999999999999::BIGNUM",
        "INTERVAL '9223372036854775807 microseconds'",
        "INTERVAL '1 year -3 days 100 hours'",
        "{'x': 1}::VARIANT",
    ],
)
def test_what_arrow_has_no_type_for_is_written_as_duckdb_writes_it(tmp_path: Path, value: str) -> None:
    """As bytes they cannot be read. The large number came out as −1, the time without its zone, the interval as −1 µs."""
    ((expected,),) = duckdb.connect().execute(f"SELECT CAST({value} AS VARCHAR)").fetchall()
    store = Store(str(tmp_path))
    assert run_sql(store, f"SELECT {value} AS a").to_pylist() == [{"a": expected}]
    several = f"WITH t AS (SELECT 1 AS n UNION SELECT 2) SELECT n AS a, {value} AS a FROM t ORDER BY n DESC; -- 'é'; /* x */"
    assert run_sql(store, several).to_pylist() == [{"a": 2, "a_1": expected}, {"a": 1, "a_1": expected}]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT ['101'::BIT, NULL] AS a", ["101", None]),
        ("SELECT ['101'::BIT]::BIT[1] AS a", ["101"]),
        ("SELECT [[INTERVAL 1 DAY], NULL] AS a", [["1 day"], None]),
        ("SELECT {'a \"b': '101'::BIT, 'n': NULL, 'k': 2} AS a", {'a "b': "101", "n": None, "k": 2}),
        ("SELECT MAP {INTERVAL 1 DAY: {'x': ['1'::BIT]}} AS a", [("1 day", {"x": ["1"]})]),
        ("SELECT union_value(i := INTERVAL 1 DAY)::UNION(i INTERVAL, k INT) AS a", "1 day"),
        ("SELECT {'BIT': 1, 'INTERVAL': 2} AS a", {"BIT": 1, "INTERVAL": 2}),  # their names are no types
    ],
)
def test_inside_of_others_they_are_text_too_and_the_rest_stays(tmp_path: Path, sql: str, rows: object) -> None:
    assert run_sql(Store(str(tmp_path)), sql).to_pylist() == [{"a": rows}]
