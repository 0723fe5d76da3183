"""`python -m tests.faults OUT [--minutes 60] [--only WORDS] [--seed N]`: the fault matrix, in slices that go on.

OUT keeps the results (`results.jsonl`), so the same command goes on where it was. A result counts for its seed and for the
code of memloc with which it ran; after a change of either, all cases run again. docs/reliability.md gets what is known.
Cases that mostly wait run in a second process, beside the others.
The cases with a small file system need a user who may mount one.

Exit code: 0 if all cases have run and none has a problem, 1 if one has a problem, 3 if the minutes were over before. Then
the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from memloc.run.node_facts import code
from tests import cards
from tests.faults.case import Case, Result, credentials, outcome
from tests.faults.report import write
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.run.programs import SMALL, memloc

UNFINISHED = 3
REPORT = Path(__file__).parents[2] / "docs" / "reliability.md"


@contextmanager
def s3_server() -> Iterator[str]:
    """HOST:PORT of a real S3 server."""
    from tests.run.clusters import free_port
    from tests.store.conftest import _wait_for

    os.environ.update(credentials())
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, server)
        yield f"127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@contextmanager
def prepared(scenario: Scenario, number: int, seed: int, server: str) -> Iterator[Case]:
    """A case with a new store."""
    from tests.store.conftest import s3_uri

    draws = random.Random(f"{seed} {scenario.name} {number}")
    with ExitStack() as ends:
        home = Path(tempfile.mkdtemp(prefix="mlf", dir="/dev/shm"))
        ends.callback(shutil.rmtree, home, ignore_errors=True)
        if scenario.on == "s3":
            uri = s3_uri(server)
        else:
            disk = home / "disk"
            disk.mkdir()
            uri = str(disk / "store")
            if scenario.on == "small":
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "memloc", disk], check=True)
                ends.callback(subprocess.run, ["umount", "--lazy", disk], check=True)
        yield Case(home, uri, uri, scenario.ray, draws, number)


def undisturbed(out: Path, code: str) -> str:
    """The store of a run of this code in one process, without faults."""
    whole = out / f"undisturbed-{code}"
    if not (whole / "done").exists():
        done = memloc(out, "sweep", str(SMALL), "--executor", "inline", "--store", str(whole / "store"))
        assert done.code == 0, done.err
        (whole / "done").touch()
    return str(whole / "store")


def read(path: Path, run: tuple[int, str]) -> list[Result]:
    """The results of this seed and this code."""
    every = [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    return [result for result in every if (result.seed, result.code) == run]


@contextmanager
def beside(options: argparse.Namespace, minutes: float) -> Iterator[None]:
    """Meanwhile another process runs the cases that mostly wait. They share nothing with others but the processors."""
    arguments = ["--minutes", str(minutes), "--seed", str(options.seed), "--only", options.only, "--waiting"]
    process = subprocess.Popen([sys.executable, "-m", "tests.faults", str(options.out), *arguments])
    try:
        yield
        process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()


def run_each(cases: Sequence[tuple[Scenario, int]], options: argparse.Namespace, code: str, end: float) -> None:
    """Runs cases one after the other, and writes down what each has shown. None begins after the end."""
    whole = undisturbed(options.out, code)
    with s3_server() as server:
        for scenario, number in cases:
            if time.monotonic() > end:
                break
            with prepared(scenario, number, options.seed, server) as case:
                shown = outcome(scenario.name, number, case, whole, scenario.run)
            result = replace(shown, seed=options.seed, code=code, ended=time.strftime("%Y-%m-%d"))
            line = json.dumps(asdict(result)) + "\n"
            with (options.out / "results.jsonl").open("a") as file:
                file.write(line)
            print(line, end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="scenarios whose name has these words")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--waiting", action="store_true", help="the cases alone that mostly wait, and no report")
    options = parser.parse_args()
    cards.hide()
    options.out.mkdir(parents=True, exist_ok=True)
    path, run = options.out / "results.jsonl", (options.seed, code())
    end = time.monotonic() + 60 * options.minutes
    known = {(r.name, r.number) for r in read(path, run)}
    every = [(s, n) for s in SCENARIOS for n in range(s.times)]
    left = [(s, n) for s, n in every if options.only in s.name and (s.name, n) not in known]
    waiting, others = ([case for case in left if case[0].waits == waits] for waits in (True, False))
    if options.waiting:
        run_each(waiting, options, run[1], end)
        return
    undisturbed(options.out, run[1])  # both processes need it
    with beside(options, (end - time.monotonic()) / 60) if waiting else nullcontext():
        run_each(others, options, run[1], end)
    report(read(path, run), every, options.only)


def report(results: Sequence[Result], every: Sequence[tuple[Scenario, int]], only: str) -> None:
    """Writes the page, says how it stands, and ends the program. only: the words that names must have."""
    known = {(r.name, r.number) for r in results}
    left = [s.name for s, n in every if (s.name, n) not in known]
    if results:
        write(REPORT, results, len(left))
    bad = [r for r in results if r.problem or r.lost or r.doubled or r.changed]
    print(f"{len(results)} cases, {sum(sum(r.faults.values()) for r in results)} faults; {len(bad)} cases with a problem")
    unfinished = [name for name in left if only in name]
    if unfinished:
        print(f"not finished: {len(unfinished)} cases have not run with this code and seed; the same command goes on")
    sys.exit(1 if bad else UNFINISHED if unfinished else 0)


if __name__ == "__main__":
    main()
