"""One run of the small sweep under faults, and what must be true afterwards."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from memloc.store import Files, checkpoints, layout
from tests.run.prepared import Program
from tests.run.programs import SMALL, contents, descendants, encoded, memloc, started

LAUNCHES = 10  # of the same command at most, as the service of docs/clusters.md repeats it; more would need somebody's help
LONGEST = 600.0  # seconds of a launch, also on a busy machine
WHOLE = 90  # files that a whole run leaves, about


@dataclass
class Case:
    """A sweep on a store of its own.

    home: the folder of its logs. uri: the store as the sweep reaches it. direct: as the check reaches it. ray: `local`,
    `cluster` for a scenario that has one, or "": in one process. draws: the case's own random numbers. number: its place
    among the cases of its scenario. faults: {kind: how many were injected}. codes: the exit code of every launch. said: the
    end of what the last one said.
    """

    home: Path
    uri: str
    direct: str
    ray: str
    draws: random.Random
    number: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    launches: int = 0
    codes: list[int] = field(default_factory=list)
    said: str = ""
    _there: set[Path] = field(default_factory=set)  # files at the beginning of the launch, or at its last moment

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command, which is the same at every launch."""
        how = {"": ("--executor", "inline"), "local": ("--cpus", "2"), "cluster": ()}[self.ray]
        return ("sweep", str(SMALL), *how, "--store", self.uri)

    @contextmanager
    def launched(self, *options: str) -> Iterator[Program]:
        """The sweep while it runs; when the block ends, it must end by itself."""
        self.launches += 1
        self._there = self._files()
        with started(self.home, *self.arguments, *options) as process:
            yield process
            _, err = process.communicate(timeout=LONGEST)
            self.codes.append(process.wait())
            self.said = err[-1500:]
            assert "Traceback" not in err, err

    def went_on(self) -> None:
        """The same command again, until it says that everything is done."""
        while not self.codes or self.codes[-1] != 0:
            assert self.launches < LAUNCHES, f"exit codes {self.codes}; {self.said}"
            with self.launched():
                pass

    def wait(self, process: Program, true: Callable[[], object]) -> bool:
        """Waits until it is true; False if the sweep has ended before."""
        deadline = time.monotonic() + LONGEST
        while not true():
            assert time.monotonic() < deadline, "waited in vain"
            if process.poll() is not None:
                return False
            time.sleep(0.05)
        return True

    def rest(self, process: Program, seconds: float) -> bool:
        """Waits for so long; False if the sweep has ended before."""
        end = time.monotonic() + seconds
        return self.wait(process, lambda: time.monotonic() > end)

    def moment(self, process: Program) -> bool:
        """Waits for a random moment of the work that this launch has still to do; False if the sweep has ended before.

        The moment is when there are so many files more than at the launch, or than at the last moment of the launch.
        """
        wanted = self.draws.randrange(1, max(2, (WHOLE - len(self._there)) * 2 // 3))
        came = self.wait(process, lambda: len(self._files() - self._there) >= wanted)
        self._there = self._files()
        return came

    def _files(self) -> set[Path]:
        return set(Path(self.direct).glob("*/*/*"))

    def kill(self, process: Program, name: str = "", number: int = signal.SIGKILL) -> bool:
        """Kills the driver, or one of its processes whose title has the name; False if there is none."""
        if name:
            found = descendants(process, name)
            if not found:
                return False
            victim = self.draws.choice(found)
        else:
            victim = psutil.Process(process.pid)
        try:
            victim.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        return True


@dataclass(frozen=True)
class Result:
    """What a case has shown: rows lost and doubled against an undisturbed run, and the hands that were needed.

    seed, code: the draws and the hash of memloc's code with which it ran. ended: the day.
    """

    name: str
    number: int
    faults: dict[str, int]
    launches: int
    codes: list[int]
    seconds: float
    lost: int
    doubled: int
    changed: int
    hands: int
    problem: str = ""
    seed: int | None = None  # results of before that had neither
    code: str = ""
    ended: str = ""


def compared(case: Case, whole: str) -> tuple[int, int, int]:
    """(rows lost, rows doubled, tables and checkpoints that differ) against the undisturbed store."""
    expected, found = contents(whole), contents(case.direct)
    lost = doubled = changed = 0
    for name, table in expected.items():
        difference = found[name].num_rows - table.num_rows
        lost, doubled = lost + max(0, -difference), doubled + max(0, difference)
        changed += encoded(table) != encoded(found[name])
    a, b = (_checkpoints(uri) for uri in (whole, case.direct))
    gone = _pruned(case.direct) - b.keys()
    return lost, doubled, changed + sum(a[path] != b.get(path) for path in a.keys() - gone)


def _pruned(uri: str) -> set[str]:
    """The checkpoints that the store says were removed on purpose."""
    files = Files(uri)
    trials = layout.by_trial(files.listing(layout.CHECKPOINTS))
    return {layout.checkpoint(trial, epoch) for trial in trials for epoch in checkpoints.read_pruned(files, trial)}


def _checkpoints(uri: str) -> dict[str, bytes]:
    files = Files(uri)
    return {p: files.get(p) for p in files.listing("checkpoints") if p.endswith(".safetensors")}


def outcome(name: str, number: int, case: Case, whole: str, run: Callable[[Case], None]) -> Result:
    """Runs a scenario, lets the same command go on, and compares the store with the undisturbed one."""
    begun, problem = time.monotonic(), ""
    lost = doubled = changed = hands = 0
    try:
        run(case)
        case.went_on()
        verified = memloc(case.home, "store", "verify", "--store", case.direct)
        assert verified.code in (0, 3), verified.err
        if verified.code == 3:  # damage that nobody has read: the same command makes it anew
            with case.launched():
                pass
            case.went_on()
        lost, doubled, changed = compared(case, whole)
    except Exception as error:  # the matrix goes on with the next case
        problem, hands = f"{type(error).__name__}: {error}"[-2000:], 1
    seconds = round(time.monotonic() - begun, 1)
    return Result(
        name, number, dict(case.faults), case.launches, case.codes, seconds, lost, doubled, changed, hands, problem
    )


def spread(draws: random.Random, items: Sequence[Path], most: int) -> list[Path]:
    """Some of the files, at most so many."""
    return draws.sample(list(items), min(most, len(items)))


def credentials() -> dict[str, str]:
    """The variables that an S3 server for tests needs."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
