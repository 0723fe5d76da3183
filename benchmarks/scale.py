"""python -m benchmarks.scale FOLDER… [--only NAME] [--copy-to URI] [--json]: what commands cost on large stores.

The folders are stores of benchmarks.big_store. --copy-to measures a copy of each in another storage, such as
s3://bucket/scale. What is there already is not copied again.
Each command runs in a process of its own. CPU seconds (user and system, of all its threads) and peak memory are those
that Linux reports of this process when it has ended. So other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.big_store import SWEEP_FILE
from memloc.commands.text_table import text_table
from memloc.errors import without_secrets
from memloc.store.files import Files

QUERIES = {
    "query flips": "SELECT noisy, count(*) AS searches, avg(count) AS neurons FROM flips WHERE eligible GROUP BY noisy",
    "query trials": "SELECT seed, count(*) AS trainings FROM trials GROUP BY seed ORDER BY seed",
    "query rewind": "SELECT layer, epoch, avg(noisy_acc) AS noisy_acc FROM rewind GROUP BY ALL ORDER BY ALL",
}


@dataclass(frozen=True)
class Cost:
    """What one command took. commits: in the store. megabytes: peak resident memory, of 10⁶ bytes. wall: seconds."""

    command: str
    store: str
    commits: int
    seconds: float
    megabytes: float
    wall: float


def commands(folder: Path, store: str, output: Path) -> dict[str, Sequence[str]]:
    """The arguments of memloc, by the name of what is measured. store: its URI. output: a folder for what they write."""
    plain: dict[str, list[str]] = {
        "help": ["--help"],
        "status": ["status"],
        "store ls": ["store", "ls"],
        "trials": ["trials", "--json"],
        **{name: ["query", sql] for name, sql in QUERIES.items()},
        "planning": ["sweep", str(folder / SWEEP_FILE), "--dry-run", "--json"],
        "claims": ["claims", "--json"],
        "report": ["report", "-o", str(output / "report.html")],
        "store verify": ["store", "verify"],
        "store compact": ["store", "compact"],
    }
    return {name: a if name == "help" else [*a, "--store", store] for name, a in plain.items()}


# Linux counts what the parent held at its peak as the child's own, until the child is a program of its own. So a small
# program starts the command, and not this process.
LAUNCHER = """
import json, os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], file)
"""


def cost(name: str, arguments: Sequence[str], store: str, commits: int) -> Cost:
    """Runs memloc once.

    Raises:
        RuntimeError: it fails; it has said why on standard error.
    """
    code, seconds, peak, wall = measured([sys.executable, "-m", "memloc", *arguments])
    if code:
        raise RuntimeError(f"{name}: exit code {code}")
    return Cost(name, without_secrets(store), commits, round(seconds, 2), round(peak / 1e6), round(wall, 1))


def measured(command: Sequence[str]) -> tuple[int, float, int, float]:
    """(exit code, CPU seconds, peak bytes, wall seconds) of a command, whose standard output goes nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "usage.json")
        clock = time.perf_counter()
        launched = [sys.executable, "-I", "-S", "-c", LAUNCHER, str(report), *command]
        subprocess.run(launched, stdout=subprocess.DEVNULL, check=True)
        wall = time.perf_counter() - clock
        code, seconds, peak = json.loads(report.read_text(encoding="utf-8"))
    return code, seconds, peak, wall


def table(costs: Sequence[Cost]) -> str:
    """The costs, a row for each."""
    rows = [[c.store, str(c.commits), c.command, f"{c.seconds:.2f}", f"{c.megabytes:.0f}", f"{c.wall:.1f}"] for c in costs]
    return text_table(["store", "commits", "command", "CPU s", "MB", "wall s"], rows)


def main() -> None:
    """Measures, and prints each cost as soon as it is known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated; default: all but store compact")
    parser.add_argument("--copy-to", metavar="URI", help="measure copies of the stores there")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    costs = []
    with tempfile.TemporaryDirectory() as output:
        for folder in given.folders:
            store = str(folder) if given.copy_to is None else copied(folder, given.copy_to)
            known = commands(folder, store, Path(output))
            if wrong := [name for name in given.only or () if name not in known]:
                parser.error(f"{wrong[0]}: no such command; valid: {', '.join(known)}")
            commits = _commits(store)
            for name in given.only or [name for name in known if name != "store compact"]:
                costs.append(cost(name, known[name], store, commits))
                print(table(costs[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    print(json.dumps([asdict(c) for c in costs], indent=1) if given.json else table(costs))


def copied(folder: Path, uri: str) -> str:
    """The URI of a copy of a store: a folder of the same name below `uri`."""
    place, query, options = uri.partition("?")
    files = Files(f"{place.rstrip('/')}/{folder.name}{query}{options}")
    there = files.listing("")
    left = [path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder).as_posix() not in there]
    for _ in files.map(lambda path: files.put(path.relative_to(folder).as_posix(), path.read_bytes()), left):
        pass
    return files.uri


def _commits(store: str) -> int:
    """The commits of a store, as it says itself."""
    listed = [sys.executable, "-m", "memloc", "store", "ls", "--json", "--store", store]
    content = json.loads(subprocess.run(listed, capture_output=True, check=True).stdout)
    return int(content["commits"])


if __name__ == "__main__":
    main()
