"""Every command's help ends with examples that are real; shells complete; none of it imports what takes seconds."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import memloc
from memloc import commands
from memloc.analysis.reader import known_tables
from memloc.analysis.views import VIEWS
from memloc.commands import query
from memloc.commands.prose import terminal_width
from memloc.models.architectures import TRAINING
from memloc.sweep import shipped


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by what one types for it."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        yield from leaves(child, (*path, name))


PROGRAM = typer.main.get_command(commands.app)
COMMANDS = dict(leaves(PROGRAM))
GROUPS = [(), *[(name,) for name, command in PROGRAM.commands.items() if hasattr(command, "commands")]]  # type: ignore[attr-defined]


def help_of(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int = 200
) -> str:
    monkeypatch.setattr(sys, "argv", ["memloc", *path, "--help"])
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("path", [*COMMANDS, *GROUPS], ids=lambda path: " ".join(["memloc", *path]))
def test_examples_are_real(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: Path
) -> None:
    """Each is parsed by the command itself; a sweep it names is a shipped one, a query it shows gives rows."""
    text = help_of(path, monkeypatch, capsys)
    examples = [line.strip() for line in text.partition("Examples:")[2].strip().splitlines()]
    assert 2 <= len(examples) <= 5
    for line in examples:
        typed = re.split(r" {3,}", line)[0].partition(" > ")[0]  # what follows says what it does
        words = shlex.split(typed)
        assert words[: len(path) + 1] == ["memloc", *path]
        (leaf,) = [known for known in COMMANDS if words[1 : len(known) + 1] == list(known)]
        context = COMMANDS[leaf].make_context("memloc", words[len(leaf) + 1 :])
        for name in context.params.get("arguments") or ():
            assert "=" in name or name.endswith(".yaml") or name in shipped()
        if context.params.get("sql"):
            assert len(memloc.open_store(tiny).sql(context.params["sql"]))


def test_the_example_of_a_join_takes_the_last_epoch(tiny: Path) -> None:
    (sql,) = re.findall(r'"(FROM epochs JOIN [^"]*)"', query.EXAMPLES)
    rows = memloc.open_store(tiny).sql(sql)
    assert len(rows) == 2
    assert set(rows["epoch"]) == {2}


@pytest.mark.parametrize("path", [*COMMANDS, *GROUPS], ids=lambda path: " ".join(["memloc", *path]))
def test_helps_fit_80_columns(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = help_of(path, monkeypatch, capsys, columns=80)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert "[[" not in text
    assert "]]" not in text


@pytest.mark.parametrize("columns", [80, 60])
def test_prose_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in ([], ["--fields"]):
        monkeypatch.setattr(sys, "argv", ["memloc", "sweep", *arguments])
        with pytest.raises(SystemExit):
            commands.main()
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if len(line) > columns and " " in line.strip()] == []
        assert max(map(len, lines)) > columns - 15


def test_lines_are_as_wide_as_the_terminal_and_at_most_100_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal_width() == 100  # a pipe
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    assert terminal_width() == 80
    monkeypatch.setenv("COLUMNS", "300")
    assert terminal_width() == 100  # longer lines are hard to read
    monkeypatch.setenv("COLUMNS", "40")
    assert terminal_width() == 40
    monkeypatch.setenv("COLUMNS", "3")
    assert terminal_width() == 20


def test_helps_name_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_of(("query",), monkeypatch, capsys).split())
    assert f"Tables (docs/tables.md): {', '.join(known_tables())}" in text
    assert f"Views: {', '.join(VIEWS)}" in text
    assert "--install-completion" in help_of((), monkeypatch, capsys)


def proposed(line: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What bash is told after TAB at the end of a line."""
    words = line.split(" ")
    monkeypatch.setenv("_MEMLOC_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setattr(sys, "argv", ["memloc"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    out, err = capfd.readouterr()
    assert err == ""
    return out.split()


def test_completion(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tiny: Path, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()

    def tab(line: str) -> list[str]:
        return proposed(line, monkeypatch, capfd)

    assert tab("memloc s") == ["sweep", "status", "stop", "submit", "store"]
    assert tab("memloc sweep dem") == ["demo"]
    assert set(tab("memloc sweep ")) == {*shipped(), "mine.yaml"}
    assert tab("memloc sweep demo noi") == [f"{n}=" for n in TRAINING if n.startswith("noi")]
    assert "flips.repeats=" in tab("memloc sweep demo flips.")
    assert tab("memloc sweep demo --only blo") == ["block="]
    assert tab("memloc data fetch cif") == ["cifar10"]
    assert tab("memloc query x --format la") == ["latex"]
    for command in ("status", "claims", "report", "query x --sweep"):
        assert tab(f"memloc {command.split()[0]} --store {tiny} {' '.join(command.split()[1:])} t".replace("  ", " ")) == [
            "tiny"
        ]
    (whole,) = tab(f"memloc status --store {tiny} tiny@")
    assert re.fullmatch(r"tiny@[0-9a-f]{8}", whole)
    monkeypatch.setenv("MEMLOC_STORE", str(tiny))
    assert tab("memloc status ") == ["tiny"]
    monkeypatch.setenv("MEMLOC_STORE", "ftp://nowhere")
    assert tab("memloc status ") == []  # nothing to propose is no error
    assert os.listdir(tmp_path) == ["mine.yaml"]
