"""Pre-empts a sweep in SLURM jobs many times: `python -m tests.run.preemptions FOLDER --count 50 --seed 0`.

Every start of the job that `memloc submit --slurm` writes is ended at a drawn moment, in a drawn way: by its time limit,
by a pre-emption, or with its node. A sweep that is complete is compared with one that nobody disturbed. Another one begins,
until there were enough. FOLDER/report.json has the numbers. A start takes about a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.run.programs import SMALL, assert_same, command, contents, environment
from tests.run.slurm import Slurm, Trouble

KINDS = ("time", "steps", "all", "node")
OPTIONS = ("--slurm", "--nodes", "2", "--cpus-per-node", "1", "--time", "00:01:40", "--drain", "30")
MORE = ("seed=0..2", "epochs=8")


def submitted(home: Path, *arguments: str) -> tuple[Slurm, dict[str, str]]:
    """Submits a sweep with the store HOME/store; (the cluster, the environment of its jobs)."""
    slurm = Slurm(home / "slurm")
    environ = environment(home, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    order = command("submit", *arguments, "--store", str(home / "store"), *OPTIONS)
    done = subprocess.run(
        order, env=slurm.environment(environ), cwd=home, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Submitted batch job {slurm.job}"
    return slurm, environ


def drawn(draw: random.Random, counts: Counter[str]) -> Iterator[Trouble | None]:
    """What happens to one start after the other; a quarter of them in their first half minute."""
    while True:
        kind = draw.choice(KINDS)
        counts[kind] += 1
        after = draw.uniform(2, 30) if draw.random() < 0.25 else draw.uniform(30, 65)
        yield None if kind == "time" else Trouble(after, kind)


def differences(undisturbed: Path, store: Path) -> dict[str, int]:
    """Rows of all tables that are missing, and rows that are there too often."""
    ours, theirs = contents(store), contents(undisturbed)
    lost = doubled = rows = 0
    for name, table in theirs.items():
        there, expected = (Counter(map(repr, t.to_pylist())) for t in (ours[name], table))
        lost += (expected - there).total()
        doubled += (there - expected).total()
        rows += expected.total()
    return {"rows": rows, "lost": lost, "doubled": doubled}


def one_sweep(home: Path, undisturbed: Path, draw: random.Random) -> dict[str, Any]:
    """Runs one sweep to its end, with troubles; what happened."""
    home.mkdir(parents=True)
    slurm, environ = submitted(home, str(SMALL), *MORE)
    begun, counts = time.monotonic(), Counter[str]()
    code = slurm.run(environ, drawn(draw, counts))
    different = differences(undisturbed, home / "store")
    if code == 0 and not different["lost"] + different["doubled"]:
        assert_same(undisturbed, home / "store")  # checkpoints too, byte by byte
    return {"exit code": code, "ends": slurm.ends, **different, "seconds": round(time.monotonic() - begun)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    home = asked.folder.absolute()
    home.mkdir(parents=True)
    inline = command("sweep", str(SMALL), *MORE, "--executor", "inline", "--store", str(home / "undisturbed"))
    subprocess.run(inline, env=environment(home), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    draw, sweeps = random.Random(asked.seed), []
    while (report := summary(sweeps))["ended before they were done"] < asked.count:
        sweeps.append(one_sweep(home / f"sweep-{len(sweeps)}", home / "undisturbed", draw))
        report = summary(sweeps)
        (home / "report.json").write_text(json.dumps({**report, "each": sweeps}, indent=1))
        print(json.dumps(report), flush=True)


def summary(sweeps: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums. A sweep whose job ends with anything but exit code 0 would need a hand."""
    ends = Counter(end for sweep in sweeps for end in sweep["ends"] if not end.startswith("exit code"))
    return {
        "sweeps": len(sweeps),
        "ended before they were done": ends.total(),
        "how": dict(ends),
        **{name: sum(sweep[name] for sweep in sweeps) for name in ("rows", "lost", "doubled", "seconds")},
        "hands": sum(sweep["exit code"] != 0 for sweep in sweeps),
    }


if __name__ == "__main__":
    main()
