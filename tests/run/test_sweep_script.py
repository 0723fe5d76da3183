"""The script of a job of Ray's job server, with a stand-in for Python: what it passes on, and when it runs again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from memloc.run.jobs.script import sweep_script
from memloc.run.jobs.sweep_arguments import SweepArguments
from tests.waiting import LONG, wait_until

STAND_IN = """#!{python} -I
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
with open({log!r}, "a") as file:
    print(json.dumps([sys.argv[1:], os.getcwd()]), file=file)
codes = json.load(open({codes!r}))
runs = len(open({log!r}).readlines())
time.sleep(codes[runs - 1][1])
sys.exit(codes[runs - 1][0])
"""
HOSTILE = ["a=$(touch run)", "b=`touch run`", "c='; touch run; '", 'd="\n', "e=\\", "f=*", "ü=é"]


def started(home: Path, *codes: tuple[int, float], quickly: bool = False) -> subprocess.Popen[bytes]:
    """The script, whose sweeps end with these codes after so many seconds. quickly: ten minutes pass in a second."""
    stand_in = home / "it's a python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, log=str(home / "log"), codes=str(home / "codes")))
    stand_in.chmod(0o755)
    (home / "codes").write_text(json.dumps(codes))
    text = sweep_script(SweepArguments("demo", "demo", HOSTILE, ()), str(stand_in))
    if quickly:
        assert "-ge 600 ]" in text
        assert "sleep 30" in text
        text = text.replace("-ge 600 ]", "-ge 1 ]").replace("sleep 30", "sleep 0.1")
    (home / "job").mkdir()
    (home / "job" / "sweep.sh").write_text(text)
    return subprocess.Popen(["bash", str(home / "job" / "sweep.sh")], start_new_session=True)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 139])
def test_it_ends_with_the_sweep(tmp_path: Path, code: int) -> None:
    assert started(tmp_path, (code, 0.0)).wait(LONG) == code
    (run,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(run) == [["-m", "memloc", "sweep", "demo", *HOSTILE, "--address", "auto"], str(tmp_path / "job")]
    assert os.listdir(tmp_path / "job") == ["sweep.sh"]


def test_a_crash_after_long_work_is_not_the_end(tmp_path: Path) -> None:
    assert started(tmp_path, (139, 1.2), (0, 0.0), quickly=True).wait(LONG) == 0
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_an_order_to_stop_reaches_the_sweep(tmp_path: Path) -> None:
    job = started(tmp_path, (139, LONG), quickly=True)
    wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().endswith("\n"))
    os.killpg(job.pid, signal.SIGTERM)  # as Ray does
    assert job.wait(LONG) == 130
    assert len((tmp_path / "log").read_text().splitlines()) == 1
