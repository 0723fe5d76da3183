"""Keyed mutants of the code that decides what runs and what exists, against the tests that need no Ray.

A mutant is one small change of one place: another comparison, another number, a condition turned round, a statement left
out. It dies where a test fails. One that survives is a gap in the tests, or changes nothing; docs/testing.md says which.

    python -m benchmarks.mutants OUT --count 300 --jobs 2

OUT keeps what is known: the coverage of every test (about five minutes), then a line of JSON for each mutant. The same
command again goes on where it was. Needs the extra `mutants` beside `test`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import Any

from benchmarks.mutants.drawing import ROOT, Mutant, mutants, mutated
from benchmarks.mutants.forked import ENDED_BY_TIME, Tests, import_libraries
from benchmarks.mutants.reach import Reach, measure

COPIED = ("memloc", "tests", "benchmarks", "sweeps", "docs", "pyproject.toml", "cli.py", "README.md", "Makefile")
FIRST_SECONDS = 20.0  # of tests that a mutant meets first, the likeliest
# Of tests that a mutant meets in all. After the likeliest the quickest come first.
MOST_SECONDS = 180.0
PATIENCE = 60.0  # seconds beyond three times what the tests take without a mutant: then it hangs, and that is noticed


def _portions(tests: list[str], seconds: dict[str, float]) -> list[list[str]]:
    """A portion of about FIRST_SECONDS, then one of as many of the others as MOST_SECONDS allow."""
    portions: list[list[str]] = [[]]
    total = 0.0
    for test in tests:
        total += seconds.get(test, 0.1) + 0.02
        if total > MOST_SECONDS:
            break
        if len(portions) == 1 and total > FIRST_SECONDS and portions[0]:
            portions.append([])
        portions[-1].append(test)
    return portions


class Attempt:
    """A mutant in a copy of the project: killed (by which test), or survived (and how it differs)."""

    def __init__(self, mutant: Mutant, reach: Reach, folder: Path) -> None:
        self.mutant, self.reach, self.folder, self.began = mutant, reach, folder, time.monotonic()
        self.source, self.changed = mutated(mutant)
        self.tests = reach.of(mutant)
        self.left = _portions(self.tests, reach.seconds) if self.tests else []
        (folder / mutant.path).write_text(self.changed, encoding="utf-8")
        self.running = self._next()

    def _next(self) -> Tests | None:
        if not self.left:
            return None
        tests = self.left.pop(0)
        return Tests(tests, self.folder, PATIENCE + 3 * sum(self.reach.seconds.get(t, 0.1) for t in tests))

    def result(self) -> dict[str, Any] | None:
        """What became of it; None while its tests run."""
        while self.running is not None:
            code = self.running.code()
            if code is None:
                return None
            if code != 0:
                return self._ended("killed", "time" if code == ENDED_BY_TIME else self.running.failed())
            self.running = self._next()
        return self._ended("survived" if self.tests else "not reached", "")

    def _ended(self, verdict: str, by: str) -> dict[str, Any]:
        (self.folder / self.mutant.path).write_text(self.source, encoding="utf-8")
        lines = (self.source.splitlines(), self.changed.splitlines())
        diff = [d for d in unified_diff(*lines, lineterm="", n=0) if not d.startswith(("---", "+++", "@@"))]
        seconds = round(time.monotonic() - self.began, 1)
        known = {"verdict": verdict, "by": by, "tests": len(self.tests), "seconds": seconds, "diff": diff}
        return asdict(self.mutant) | known


def _copy(folder: Path) -> Path:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def run(out: Path, seed: int, count: int, jobs: int) -> list[dict[str, Any]]:
    """Tries the mutants that `out` does not know yet; all results."""
    out.mkdir(parents=True, exist_ok=True)
    reach = measure(out)
    results = out / "mutants.jsonl"
    known = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []
    done = {(r["path"], r["line"], r["column"], r["operator"]) for r in known}
    todo = [m for m in mutants(seed, count) if (m.path, m.line, m.column, m.operator) not in done]
    import_libraries()
    with tempfile.TemporaryDirectory() as scratch:
        free = [_copy(Path(scratch) / f"copy{k}") for k in range(jobs)]
        under_way: list[Attempt] = []
        while todo or under_way:
            while todo and free:
                under_way.append(Attempt(todo.pop(0), reach, free.pop()))
            for attempt in list(under_way):
                result = attempt.result()
                if result is not None:
                    under_way.remove(attempt)
                    free.append(attempt.folder)
                    known.append(result)
                    _tell(result, results, len(todo) + len(under_way))
            time.sleep(0.05)
    return known


def _tell(result: dict[str, Any], results: Path, left: int) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    if result["verdict"] != "killed":
        print(f"{result['verdict']}: {result['path']}:{result['line']} {result['diff']} ({left} left)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    results = run(given.out.resolve(), given.seed, given.count, given.jobs)
    counts = {v: sum(r["verdict"] == v for r in results) for v in ("killed", "survived", "not reached")}
    print(", ".join(f"{n} {v}" for v, n in counts.items()) + f"; {sum(r['seconds'] for r in results) / 60:.0f} min of work")


if __name__ == "__main__":
    main()
