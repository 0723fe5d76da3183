"""The simulation beside a real Ray on logical GPUs, where every process sleeps for known seconds (docs/scheduling.md)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memloc.run.schedule import Slots, bound, critical_path
from memloc.run.simulation import simulate
from tests.run.programs import environment
from tests.run.sleeping import costs

STARTS = 15.0  # seconds for processes that start, news that come twice a second, and a busy machine


def list_bound(gpus: int, task: float) -> float:
    """What no greedy schedule exceeds (Graham 1969): all work spread evenly, and the longest chain beside it."""
    trials = costs(task)
    return sum(trial.work() for trial in trials) / gpus + critical_path(trials).seconds * (1 - 1 / gpus)


@pytest.mark.parametrize(("gpus", "task"), [(1, 1.0), (2, 1.0), (2, 0.5), (4, 0.5)])
def test_between_what_nobody_undercuts_and_what_no_greedy_schedule_exceeds(gpus: int, task: float) -> None:
    trials = costs(task)
    assert bound(trials, Slots(gpus)) <= simulate(trials, Slots(gpus)) <= list_bound(gpus, task)


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "task"), [("2", "0.5"), ("4", "0.5")])
def test_ray_takes_what_is_simulated_and_its_starts(tmp_path: Path, gpus: str, task: str) -> None:
    command = [sys.executable, "-m", "tests.run.sleeping", gpus, task]
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, env=environment(tmp_path, PYTHONPATH=path), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["simulated"] - 0.5 <= told["ray"] <= told["simulated"] + STARTS


@pytest.mark.slow
def test_the_benchmark_of_many_trials_drives_them_all(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.many_trials", "--trials", "20", "--json"]
    path = os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, env=environment(tmp_path, PYTHONPATH=path), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == {"driver", "tune"}
    for one in told.values():
        assert one["trials"] == 20
        assert one["trials_per_s"] > 0
        assert set(one["megabytes"]) == {"0", "10", "50", "100"}
