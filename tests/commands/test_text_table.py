"""Tables on a terminal and in a pipe, and the values of a query as text."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import duckdb
import pytest

from memloc import commands
from memloc.analysis.written import as_arrow
from memloc.commands.query import Format, render
from memloc.commands.text_table import text_table
from memloc.errors import MemlocWarning, UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output and standard error are a terminal of 60 columns. pytest sets its own after the fixtures."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "60")


LONG = ["266df2a2", "gradients rewind retrain flips evaluate second_split detection", "12.5", "3 of 20 parts to do"]
HEADER = ["trial", "analyses", "number", "state"]


def test_texts_are_broken_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch)
    table = text_table(HEADER, [LONG, ["1", "", "3", ""]])
    assert max(map(len, table.splitlines())) <= 60
    assert table.splitlines()[2:] == [
        "266df2a2  gradients rewind retrain flips     12.5  3 of 20",
        "          evaluate second_split detection          parts to",
        "                                                   do",
        "1                                               3",
    ]
    assert text_table(HEADER, [LONG], fit=False).splitlines()[2] == "  ".join([*LONG[:2], "  12.5", LONG[3]])


def test_words_are_whole_and_the_room_goes_to_what_makes_rows_high(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch)
    table = text_table(["id", "few", "many"], [["266df2a2f936ee85", "one second_split", "four " * 30], ["x", "", ""]])
    assert max(map(len, table.splitlines())) <= 60
    words = [word for line in table.splitlines()[2:] for word in line.split()]
    assert sorted(words) == sorted(["266df2a2f936ee85", "one", "second_split", *["four"] * 30, "x"])
    assert len(table.splitlines()) == 2 + 6 + 1  # 28 columns are left for 149 letters
    long = text_table(["a", "b"], [["x" * 100, "y" * 100]])
    assert max(map(len, long.splitlines())) <= 60
    assert "".join(long.splitlines()[2:]).count("x") == 100


def test_in_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert text_table(HEADER, [LONG]).splitlines()[2] == "  ".join([*LONG[:2], "  12.5", LONG[3]])
    broken = text_table(["a", "b"], [["two\nlines\tand a tab", "1"], ["\x1b[31mred\r", "2"]])
    assert broken.splitlines()[2:] == ["two\\nlines\\tand a tab  1", "\\x1b[31mred\\x0d        2"]


def test_many_columns_are_several_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch)
    header = [f"column{i:02}" for i in range(12)]
    rows = [[str(100 * row + column) for column in range(12)] for row in range(3)]
    table = text_table(header, rows)
    assert max(map(len, table.splitlines())) <= 60
    pieces = [[line.split() for line in piece.splitlines()] for piece in table.split("\n\n")]
    assert len(pieces) == 3
    assert all(piece[0][0] == "column00" and piece[4][0] == "200" for piece in pieces)  # each says whose rows they are
    assert [name for piece in pieces for name in piece[0][1:]] == header[1:]
    assert [value for piece in pieces for value in piece[4][1:]] == rows[2][1:]


def rows(sql: str) -> Any:
    return as_arrow(duckdb.connect().sql(sql))


def shown(sql: str) -> list[str]:
    return [line.strip() for line in render(rows(sql), Format.table).decode().splitlines()[2:]]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("1234567.0::DOUBLE", "1234567"),
        ("-98765432.1::DOUBLE", "-98765432"),
        ("123456.7::DOUBLE", "123457"),
        ("2e20::DOUBLE", "2e+20"),
        ("1.5e-7::DOUBLE", "1.5e-07"),
        ("1e15::DOUBLE", "1e+15"),
    ],
)
def test_numbers(value: str, text: str) -> None:
    assert shown(f"SELECT {value} AS x") == [text]
    assert "\n1234567 \\\\" in render(rows("SELECT 1234567.0::DOUBLE AS x"), Format.latex).decode()


SPANS = ["1 year 2 months 3 days 4 hours 5 minutes 6.5 seconds", "-14 months", "-90 seconds", "0 days", "100 hours", "1 day"]
BLOBS = [r"'\x00ab\x5C\x22\x27\xFF'::BLOB", "'abc'::BLOB", "''::BLOB"]


@pytest.mark.parametrize("value", [*(f"INTERVAL '{span}'" for span in SPANS), *BLOBS])
def test_spans_and_bytes_are_as_duckdb_writes_them(value: str) -> None:
    ((text,),) = duckdb.connect().sql(f"SELECT ({value})::VARCHAR").fetchall()
    sql = f"SELECT {value} AS x, [{value}] AS l, 1 AS n"
    assert shown(f"SELECT {value} AS x, 'end' AS n")[0].rpartition("  ")[0].strip() == text
    assert json.loads(render(rows(sql), Format.json)) == [{"x": text, "l": [text], "n": 1}]
    assert text.split()[0].strip("\\") in render(rows(f"SELECT {value} AS x"), Format.csv).decode() if text else True
    render(rows(sql), Format.latex)


TIMES = [  # Python has no year below 1 or above 9999, nothing infinite, and no hour 24
    *(f"'{text}'::DATE" for text in ("infinity", "-infinity", "0044-03-15 (BC)", "12000-01-01", "2020-02-29")),
    *(f"'{text}'::TIMESTAMP" for text in ("infinity", "-infinity", "0044-03-15 (BC) 01:02:03.5", "12000-01-01 01:02:03.5")),
    *(f"'{text}'::TIMESTAMPTZ" for text in ("infinity", "12000-01-01 01:02:03+00", "2020-02-29 01:02:03.25+00")),
    *(f"'infinity'::TIMESTAMP_{unit}" for unit in ("S", "MS", "NS")),
    "'2020-02-29 01:02:03.123456789'::TIMESTAMP_NS",
    "'24:00:00'::TIME",
    "'01:02:03.5'::TIME",
]


@pytest.mark.parametrize("value", TIMES)
def test_dates_and_times_are_as_duckdb_writes_them(value: str) -> None:
    ((text,),) = duckdb.connect().sql(f"SELECT ({value})::VARCHAR").fetchall()
    assert shown(f"SELECT {value} AS x, 'end' AS n")[0].rpartition("  ")[0].strip() == text
    kind = value.rpartition("::")[2]
    every = f"SELECT {value} AS x, [{value}] AS l, {{'k': {value}}} AS s, MAP {{{value}: 1}} AS m, [{value}]::{kind}[1] AS f"
    columns = {"x": text, "l": [text], "s": {"k": text}, "m": [[text, 1]], "f": [text]}
    assert json.loads(render(rows(every), Format.json)) == [columns]
    written = list(csv.reader(io.StringIO(render(rows(every), Format.csv).decode())))[1]
    assert written == [text, f"['{text}']", f"{{'k': '{text}'}}", f"[('{text}', 1)]", f"['{text}']"]
    assert f"\n{text} & 1" in render(rows(f"SELECT {value} AS x, 1 AS n"), Format.latex).decode()


def test_numbers_inside_of_others() -> None:
    assert shown("SELECT MAP {1: 1.5} AS m") == ["[(1, 1.5)]"]
    assert shown("SELECT {'total': sum(n)} AS s FROM range(3) AS t(n)") == ["{'total': 3}"]
    sql = "SELECT MAP {1: 'nan'::DOUBLE} AS m, MAP {1: {'x': 1.5}} AS d"
    assert json.loads(render(rows(sql), Format.json)) == [{"m": [[1, None]], "d": [[1, {"x": 1.5}]]}]


@pytest.mark.parametrize("value", ["union_value(a := 1)", "'infinity'::TIMESTAMP_S", "struct_pack()"])
def test_what_parquet_cannot_hold_is_one_line(value: str) -> None:
    with pytest.raises(UsageError, match=r"^--format parquet: .*; make it text, such as CAST\(x AS VARCHAR\)$") as caught:
        render(rows(f"SELECT {value} AS x"), Format.parquet)
    assert "\n" not in str(caught.value)


def test_parquet_holds_rare_dates_as_duckdb_reads_them(tmp_path: Path) -> None:
    values = "'infinity'::DATE AS a, '12000-01-01'::DATE AS b, '-infinity'::TIMESTAMP AS c"
    (tmp_path / "x.parquet").write_bytes(render(rows(f"SELECT {values}"), Format.parquet))
    texts = "SELECT a::VARCHAR, b::VARCHAR, c::VARCHAR FROM '{}'"
    read = duckdb.connect().sql(texts.format(tmp_path / "x.parquet")).fetchall()
    assert read == [("infinity", "12000-01-01", "-infinity")]


def test_a_warning_is_broken_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    at_a_terminal(monkeypatch)
    text = "two different sweeps have this name. " * 5
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(commands, "_run", lambda: warnings.warn(text, MemlocWarning, stacklevel=1))
        commands.main()
    lines = sys.stderr.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 60
    assert " ".join(line.strip() for line in lines) == f"memloc: warning: {text}".strip()
