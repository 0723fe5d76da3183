"""The files in docs/clusters.md are what the program prints, and the commands in them are commands of memloc."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main

from memloc.commands import app
from memloc.run.cluster import FAULT_DETECTION
from tests.commands.test_query import run

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)
PRINTED = [(text.strip(), BLOCKS[n + 1][1]) for n, (_, text) in enumerate(BLOCKS) if text.rstrip().endswith(" --print")]


@pytest.mark.parametrize(("command", "file"), PRINTED, ids=[command.split(" --")[1] for command, _ in PRINTED])
def test_the_program_prints_this_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, file: str
) -> None:
    """The demo stands for the paper's sweep, whose plan takes seconds."""
    monkeypatch.delenv("MEMLOC_STORE", raising=False)
    code, out, err = run(capfd, monkeypatch, *shlex.split(command.replace("paper-grid", "demo"))[1:])
    assert code == 0, err
    assert out == file.replace("paper-grid", "demo")


def test_there_is_a_file_of_each_kind() -> None:
    assert [command.split()[3] for command, _ in PRINTED] == ["--slurm", "--ray-job", "--kuberay"]
    scripts = [text for kind, text in BLOCKS if kind == "bash"]
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    by_hand = [script for script in scripts if "\nray start " in script]
    assert len(by_hand) == 2
    for script in by_hand:
        assert all(f"{name}={value}" in script for name, value in FAULT_DETECTION.items())


def test_the_service() -> None:
    (unit,) = [text for kind, text in BLOCKS if kind == "ini"]
    service = configparser.ConfigParser(interpolation=None)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read_string(unit)
    program, *arguments = shlex.split(service["Service"]["ExecStart"])
    assert program.endswith("/memloc")
    context = typer.main.get_command(app).commands[arguments[0]].make_context("memloc", arguments[1:])  # type: ignore[attr-defined]
    assert context.params["arguments"] == ["paper-grid"]
    assert (
        service["Service"]["KillMode"] == "mixed"
    )  # SIGTERM for memloc alone: its processes are needed until it has drained
