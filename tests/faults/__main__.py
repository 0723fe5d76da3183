"""`python -m tests.faults OUT [--minutes 60] [--only WORDS] [--seed N]`: the fault matrix, in slices that go on.

OUT keeps the results (`results.jsonl`), so the same command goes on where it was. A result counts for its seed and for the
code of memloc with which it ran; after a change of either, all cases run again. docs/reliability.md gets what is known.
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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--only", default="", help="scenarios whose name has these words")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cards.hide()
    options.out.mkdir(parents=True, exist_ok=True)
    path, run = options.out / "results.jsonl", (options.seed, code())
    every = [Result(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    results = [result for result in every if (result.seed, result.code) == run]
    known = {(r.name, r.number) for r in results}
    end = time.monotonic() + 60 * options.minutes
    whole = undisturbed(options.out, run[1])
    cases = [(s, n) for s in SCENARIOS for n in range(s.times) if options.only in s.name]
    with s3_server() as server:
        for scenario, number in cases:
            if (scenario.name, number) in known or time.monotonic() > end:
                continue
            with prepared(scenario, number, options.seed, server) as case:
                shown = outcome(scenario.name, number, case, whole, scenario.run)
            result = replace(shown, seed=run[0], code=run[1], ended=time.strftime("%Y-%m-%d"))
            results.append(result)
            with path.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            print(json.dumps(asdict(result)), flush=True)
    known = {(r.name, r.number) for r in results}
    left = {(s.name, n) for s in SCENARIOS for n in range(s.times)} - known
    if results:
        write(REPORT, results, len(left))
    bad = [r for r in results if r.problem or r.lost or r.doubled or r.changed]
    print(f"{len(results)} cases, {sum(sum(r.faults.values()) for r in results)} faults; {len(bad)} cases with a problem")
    unfinished = [case for scenario, number in cases if (case := (scenario.name, number)) not in known]
    if unfinished:
        print(f"not finished: {len(unfinished)} cases have not run with this code and seed; the same command goes on")
    sys.exit(1 if bad else UNFINISHED if unfinished else 0)


if __name__ == "__main__":
    main()
