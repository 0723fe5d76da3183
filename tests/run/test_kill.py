"""kill -9 at random moments of the demo; afterwards the same command gives what an undisturbed run gives.

`make test-kill` runs this (about 15 minutes on two cores) and writes docs/reliability.md.
"""

from __future__ import annotations

import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.run.programs import assert_same, descendants, memloc, started, wait_until

REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"
SEED = random.SystemRandom().randrange(10**6)  # new moments every time; the report names it
TITLES = {"trainer": "ray::train", "task": "ray::run_parts", "coordinator": "ray::Coordinator"}
VICTIMS = ["driver"] * 4 + ["trainer"] * 4 + ["task"] * 3 + ["coordinator"]

pytestmark = pytest.mark.kill


@dataclass
class Kill:
    """One kill: of what, when after the start, what the store held then, and how it went on."""

    victim: str
    moment: float
    commits: int
    checkpoints: int
    same_launch: str
    again: float


@dataclass
class Report:
    undisturbed: float = 0.0
    kills: list[Kill] = field(default_factory=list)

    def write(self) -> None:
        rows = [
            f"| {i} | {k.victim} | {k.moment:.1f} s | {k.commits} | {k.checkpoints} | {k.same_launch} | {k.again:.1f} s |"
            for i, k in enumerate(self.kills, 1)
        ]
        REPORT.write_text(
            "# What a kill costs\n\n"
            "Written by `make test-kill` (`tests/run/test_kill.py`): `kill -9` of one process of `memloc sweep demo` at a\n"
            "random moment, then the same command again. After each, every table (but the clock readings in `seconds`)\n"
            "and every checkpoint was byte-equal to those of an undisturbed run made in one process, and\n"
            "`memloc store verify` found everything as committed.\n\n"
            f"Last run: {time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {psutil.cpu_count()} cores, "
            f"seed {SEED}; the undisturbed run took {self.undisturbed:.0f} s.\n\n"
            "| | killed | after | commits then | checkpoints then | that launch | the next launch |\n"
            "|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
            "A killed trainer, task or coordinator is replaced within the same launch: a trainer goes on from its\n"
            "newest checkpoint, a task repeats the part that was not committed. A killed driver takes its local Ray\n"
            "with it; the next launch skips what is committed and goes on from the newest checkpoints.\n"
        )


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    found = Report()
    yield found
    if len(found.kills) == len(VICTIMS):
        found.write()


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory, report: Report) -> Path:
    home = tmp_path_factory.mktemp("oracle")
    clock = time.monotonic()
    done = memloc(home, "sweep", "demo", "--executor", "inline", "--store", str(home / "store"))
    assert done.code == 0, done.err
    report.undisturbed = time.monotonic() - clock
    return home / "store"


@pytest.mark.parametrize(("number", "victim"), list(enumerate(VICTIMS)))
def test_kill(tmp_path: Path, oracle: Path, report: Report, number: int, victim: str) -> None:
    moments = random.Random(f"{SEED} {number}")
    store = tmp_path / "store"
    arguments = ("sweep", "demo", "--store", str(store))
    begun = time.monotonic()
    with started(tmp_path, *arguments) as process:
        target = _wait_for(process, victim, moments)
        held = len(list(store.glob("commits/*/*.json"))), len(list(store.glob("checkpoints/*/epoch-*")))
        moment = time.monotonic() - begun
        family = psutil.Process(process.pid).children(recursive=True)
        target.send_signal(signal.SIGKILL)
        _, err = process.communicate(timeout=300)
        code = process.returncode
        if victim == "driver":
            wait_until(lambda: not any(_works(member) for member in family), 30)
    assert code == (-signal.SIGKILL if victim == "driver" else 0), err
    clock = time.monotonic()
    again = memloc(tmp_path, *arguments)
    assert again.code == 0, again.err
    assert_same(oracle, store)
    assert memloc(tmp_path, "store", "verify", "--store", str(store)).code == 0
    same_launch = "ended" if victim == "driver" else "finished everything"
    report.kills.append(Kill(victim, moment, *held, same_launch, time.monotonic() - clock))
    print(f"\nseed {SEED}: {report.kills[-1]}", file=sys.stderr)


def _works(process: psutil.Process) -> bool:
    """Is it alive? Ray's two agents do not count: they compute nothing, and take a minute to notice."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and "Agent" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _wait_for(process: subprocess.Popen[str], victim: str, moments: random.Random) -> psutil.Process:
    """Waits for a random moment of the victim's life; returns the process to kill."""
    if victim == "driver":
        time.sleep(moments.uniform(5, 45))
        return psutil.Process(process.pid)
    nth = {"trainer": moments.randrange(2), "task": 0, "coordinator": 0}[victim]  # not always the first trainer
    seen: set[int] = set()
    alive: list[psutil.Process] = []

    def look() -> int:
        assert process.poll() is None, "the sweep ended before the moment came"
        alive[:] = descendants(process, TITLES[victim])
        seen.update(p.pid for p in alive)
        return len(seen)

    wait_until(lambda: look() > nth, 120)
    time.sleep(moments.uniform(0, {"trainer": 8.0, "task": 3.0, "coordinator": 15.0}[victim]))
    wait_until(lambda: look() and alive, 120)
    return moments.choice(alive)
