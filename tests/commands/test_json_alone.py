"""With --json standard output has JSON only, whatever a user's file prints, and however it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from memloc import commands
from memloc.commands import answers

ROOT = Path(__file__).parents[2]

SAYING = """
import os, subprocess
print("{0} says: imported")
os.write(1, b"{0} says: by descriptor\\n")
subprocess.run(["echo", "{0} says: by another process"], check=True)
"""
NETS = """
from torch import nn


class Saying(nn.Module):
    def forward(self, x):
        print("nets says: forward")
        return x


def make(channels, height, width, classes):
    print("nets says: made")
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), Saying(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
    )
"""
MINE = """
from memloc.stages.detection.scores import Score

LATE = Score("late", lambda trained: trained.examples["final_loss"])
"""
SWEEP = """
plugins: [mine.py]
defaults: {dataset: digits, model: "python:nets.py:make", subset: 60, epochs: 1, batch_size: 30}
blocks: {a: {stages: {evaluate: {}}}}
"""
HOWS = ("imported", "by descriptor", "by another process")


def run(folder: Path, *arguments: str) -> tuple[object, str]:
    """(what standard output has, as JSON; what standard error has)."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memloc", *arguments, "--json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(SAYING.format("nets") + NETS)
    (tmp_path / "mine.py").write_text(SAYING.format("mine") + MINE)
    (tmp_path / "my.yaml").write_text(SWEEP)
    return tmp_path


def test_a_run_in_this_process(folder: Path) -> None:
    """The network is made and used for planning, training and an analysis; the plugin is read for the plan."""
    found, said = run(folder, "sweep", "my.yaml", "--executor", "inline", "--store", "store")
    assert isinstance(found, dict)
    assert found["counts"]["done"] == 1
    for line in (
        *(f"{name} says: {how}" for name in ("nets", "mine") for how in HOWS),
        "nets says: made",
        "nets says: forward",
    ):
        assert f"{line}\n" in said


def test_fields_of_a_plugin(folder: Path) -> None:
    found, said = run(folder, "sweep", "my.yaml", "--fields")
    assert isinstance(found, list)
    for how in HOWS:
        assert f"mine says: {how}\n" in said


def test_every_option_of_the_name_keeps_answers_apart() -> None:
    """No command has a --json of its own, for which this would not hold."""
    option = re.compile(r'Option\([^()]*"--json"')
    own = [p.name for p in Path(commands.__file__).parent.glob("*.py") if option.search(p.read_text(encoding="utf-8"))]
    assert own == ["options.py"]


def test_standard_output_is_what_it_was_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    usual, context = sys.stdout, typer.Context(typer.main.get_command(commands.app))
    for _ in range(2):
        with answers.of_program():
            assert answers.apart(context, True)
            assert answers.apart(context, True)  # read twice, as Typer may
            print("printed")
            os.write(1, b"by descriptor\n")
            answers.answer("[]")
        assert sys.stdout is usual
        print("after")
        os.write(1, b"after, by descriptor\n")
        out, err = capfd.readouterr()
        assert out.splitlines() == ["[]", "after", "after, by descriptor"]
        assert sorted(err.splitlines()) == ["by descriptor", "printed"]
    assert answers.apart(context, True)  # outside of the program, where arguments are only parsed
    with answers.of_program():
        assert not answers.apart(context, False)
        assert answers.apart(typer.Context(context.command, resilient_parsing=True), True)
        print("as ever")
    assert capfd.readouterr() == ("as ever\n", "")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """Its end of the pipe is closed before anything is printed."""
    command = f"{sys.executable} -m memloc sweep --json 2>&1 >&3 3>&- | cat"
    shell = ["bash", "-c", f"exec 3> >(exec 0<&-; sleep 0.1); sleep 0.5; {command}; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(
        shell, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
