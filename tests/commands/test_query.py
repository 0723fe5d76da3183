"""`memloc query`: what it answers, in which forms, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import memloc
from memloc import commands
from memloc.commands.query import SHOWN
from memloc.errors import StoreError

Cli = Any


def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["memloc", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    out, err = capfd.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def ask(tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    return lambda sql, *options: run(capfd, monkeypatch, "query", sql, "--store", str(tiny), *options)


def test_table(ask: Cli) -> None:
    code, out, _ = ask("SELECT layer, epoch, noisy_acc FROM rewind WHERE epoch = 2 ORDER BY layer LIMIT 2")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].split() == ["layer", "epoch", "noisy_acc"]
    assert [line.split()[:2] for line in lines[2:]] == [["conv1", "2"], ["conv2", "2"]]


def test_formats(ask: Cli, tmp_path: Path) -> None:
    sql = "SELECT mode, rescale, test_acc FROM evaluation WHERE mode IN ('own', 'scaled') ORDER BY mode"
    rows = json.loads(ask(sql, "--format", "json")[1])
    assert [r["mode"] for r in rows] == ["own", "scaled"]
    assert rows[0]["test_acc"] is None
    assert list(csv.reader(io.StringIO(ask(sql, "--format", "csv")[1])))[1] == ["own", "none", ""]
    assert "\\begin{tabular}" in ask(sql, "--format", "latex")[1]
    target = tmp_path / "rows.parquet"
    assert ask(sql, "--format", "parquet", "-o", str(target)) == (0, "", "")
    assert pq.read_table(target).to_pylist() == rows
    code, _, err = ask(sql, "--format", "parquet")
    assert (code, err.count("\n")) == (2, 1)


def test_every_table_can_be_asked_and_joined(ask: Cli) -> None:
    for table in ("trials", "analyses", "epochs", "examples", "evaluation", "predictions", "rewind"):
        code, out, _ = ask(f"SELECT count(*) AS n FROM {table}", "--format", "json")
        assert code == 0
        assert json.loads(out)[0]["n"] > 0
    sql = """WITH last AS (SELECT trial, max(epoch) AS epoch FROM epochs GROUP BY trial)
             SELECT dropout, e.test_acc FROM trials JOIN epochs e USING (trial) JOIN last USING (trial, epoch) ORDER BY 1"""
    assert [r["dropout"] for r in json.loads(ask(sql, "--format", "json")[1])] == ["example_tied", "none"]


def test_explain_of_a_select(ask: Cli) -> None:
    assert ask("EXPLAIN SELECT * FROM trials")[0] == 0
    assert ask("/* a comment */ SELECT 1 -- another\n; ")[0] == 0


REFUSED = [
    "CREATE TABLE x (a int)",
    "INSERT INTO trials VALUES (1)",
    "UPDATE trials SET noise = 1",
    "DELETE FROM trials",
    "DROP VIEW trials",
    "ATTACH '{there}/x.db'",
    "COPY (SELECT 1) TO '{there}/x.csv'",
    "COPY trials FROM '{there}/secret.csv'",
    "EXPORT DATABASE '{there}/dump'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "PRAGMA database_list",
    "SET enable_external_access = true",
    "CALL pragma_version()",
    "SELECT * FROM read_csv('{there}/secret.csv')",
    "SELECT * FROM read_parquet('{there}/*.parquet')",
    "SELECT * FROM read_text('{there}/secret.csv')",
    "SELECT * FROM '{there}/secret.csv'",
    "SELECT * FROM glob('{there}/*')",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP VIEW trials",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (ANALYZE) SELECT 1",
    "EXPLAIN /* x */ ANALYZE DROP VIEW trials",
    "EXPLAIN DROP VIEW trials",
    "EXPLAIN COPY (SELECT 1) TO '{there}/x.csv'",
    "EXPLAIN EXPLAIN ANALYZE SELECT 1",
    "PREPARE p AS SELECT 1",
    "SELEC 1",
    "SELECT FROM WHERE",
    "SELECT nothing FROM trials",
    "SELECT * FROM nowhere",
    "SELECT * FROM snapshot",  # a Python variable of the program is no table
    "SELECT * FROM commits",
    "",
    "/* nothing */",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_refused_with_one_line_and_nothing_touched(ask: Cli, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret.csv").write_text("secret\nxyzzy\n")
    code, out, err = ask(sql.format(there=tmp_path))
    assert code == 2
    assert out == ""
    assert err.startswith("memloc: SQL: ")
    assert err.count("\n") == 1
    assert "xyzzy" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"]


def test_a_store_and_a_target_that_are_not_there(
    ask: Cli, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = run(capfd, monkeypatch, "query", "SELECT 1", "--store", str(tmp_path / "none"))
    assert (code, err.count("\n")) == (3, 1)
    assert "does not exist" in err
    for target, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "no" / "x", "there is no folder"),
        (tmp_path / "x.csv", "x.csv: ends in .csv, but the format is table; add --format csv"),
        (tmp_path / "x.PARQUET", "x.PARQUET: ends in .parquet, but the format is table; add --format parquet"),
        (tmp_path / "x.tex", "x.tex: ends in .tex, but the format is table; add --format latex"),
        (Path("/proc/x"), "cannot be written: No such file or directory"),
    ):
        code, _, err = ask("SELECT 1", "-o", str(target))
        assert code == 2
        assert message in err
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_written_into_and_stays(ask: Cli, tmp_path: Path) -> None:
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert ask("SELECT 1 AS one", "--format", "csv", "-o", str(pipe)) == (0, "", "")
    assert os.read(reader, 100) == b"one\n1\n"
    os.close(reader)
    assert pipe.is_fifo()
    file.write_text("old")
    link.symlink_to(file)
    assert ask("SELECT 1 AS one", "--format", "csv", "-o", str(link)) == (0, "", "")
    assert link.is_symlink()
    assert file.read_text() == "one\n1\n"


@pytest.mark.parametrize(
    "command", [["query", "SELECT 1"], ["status"], ["claims"], ["report"], ["store", "ls"]], ids=" ".join
)
@pytest.mark.parametrize("content", ["empty", "something else"])
def test_a_folder_that_is_no_store(
    command: list[str], content: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    if content != "empty":
        (folder / "summer").mkdir()
        (folder / "sweeps").write_text("a file, and no folder")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capfd, monkeypatch, *command, "--store", str(folder))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "is a folder without a store in it; `memloc sweep NAME --store " in err
    assert [p.name for p in tmp_path.iterdir()] == ["photos"]
    with pytest.raises(StoreError, match="without a store in it"):
        memloc.open_store(str(folder))


def test_a_pipe_gets_all_rows(ask: Cli) -> None:
    sql = "SELECT example FROM examples ORDER BY example"
    total = json.loads(ask("SELECT count(*) AS n FROM examples", "--format", "json")[1])[0]["n"]
    assert total > 2 * SHOWN
    assert len(ask(sql)[1].splitlines()) == 2 + total
    assert len(ask(sql, "--format", "csv")[1].splitlines()) == 1 + total


def test_on_a_terminal(ask: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    for rows, lines in ((SHOWN - 1, SHOWN + 1), (SHOWN, SHOWN + 2)):
        assert len(ask(f"FROM range({rows})")[1].splitlines()) == lines
    code, out, err = ask(f"FROM range({SHOWN + 1})")
    *table, note = out.splitlines()
    assert (code, err, len(table)) == (0, "", SHOWN + 2)
    assert table[-1].split() == [str(SHOWN - 1)]
    assert note == f"the first {SHOWN} of {SHOWN + 1} rows; for all of them: --format csv, -o FILE, or | less"
    assert len(ask(f"FROM range({3 * SHOWN})", "--format", "csv")[1].splitlines()) == 1 + 3 * SHOWN
    assert len(json.loads(ask(f"FROM range({3 * SHOWN})", "--format", "json")[1])) == 3 * SHOWN
    target = tmp_path / "all.txt"
    assert ask(f"FROM range({3 * SHOWN})", "-o", str(target)) == (0, "", "")
    assert len(target.read_text().splitlines()) == 2 + 3 * SHOWN


def test_of_one_sweep(ask: Cli) -> None:
    assert json.loads(ask("SELECT count(*) AS n FROM trials", "--sweep", "tiny", "--format", "json")[1]) == [{"n": 2}]
    code, _, err = ask("SELECT 1", "--sweep", "tny")
    assert code == 2
    assert "did you mean 'tiny'?" in err
