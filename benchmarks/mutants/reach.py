"""Which tests run which line, by a run of all of them under coverage."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.drawing import ROOT, Mutant

NO_RAY = "not slow and not ray and not browser"


@dataclass
class Reach:
    """tests: {file: {line: tests}}, by a run under coverage. seconds: {test: its time}."""

    tests: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests to try a mutant with, the likeliest to notice first.

        Those that run its line come first, of them the module's own, then its package's, then the quickest. The other tests
        of its package follow: a store that many tests read is made in the name of the first of them.
        """
        lines = self.tests.get(mutant.path, {})
        reached = {t for line in _statement_lines(mutant) for t in lines.get(line, [])}
        if not reached:  # it runs when its module is imported
            reached = {t for tests in lines.values() for t in tests}
        stem, own = Path(mutant.path).stem, f"tests/{mutant.path.split('/')[1]}/"

        def rank(test: str) -> tuple[bool, bool, bool, float, str]:
            seconds = self.seconds.get(test, 0.0)
            return test not in reached, f"test_{stem}" not in test, not test.startswith(own), seconds, test

        return sorted(reached | {test for test in self.seconds if test.startswith(own)}, key=rank)


def _statement_lines(mutant: Mutant) -> range:
    """The lines of the innermost statement at the mutant's place; coverage knows statements by their first one."""
    tree = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8"))
    spans = [
        (n.lineno, n.end_lineno or n.lineno)
        for n in ast.walk(tree)
        if isinstance(n, ast.stmt) and n.lineno <= mutant.line <= (n.end_lineno or n.lineno)
    ]
    first, last = min(spans, key=lambda span: (span[1] - span[0], -span[0]), default=(mutant.line, mutant.line))
    return range(first, max(mutant.line, min(last, mutant.line)) + 1)


def measure(out: Path) -> Reach:
    """Runs every test once under coverage, unless `out` has it already."""
    data, times = out / "coverage", out / "times.xml"
    if not times.exists():
        command = [sys.executable, "-m", "pytest", "-q", "-m", NO_RAY, "--cov=memloc", "--cov-context=test", "--cov-report="]
        command += ["-p", "no:cacheprovider", f"--junitxml={times}", "-n", "2", "--dist", "loadfile"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"COVERAGE_FILE": str(data)}, check=True)
    from coverage import CoverageData

    coverage = CoverageData(basename=str(data))
    coverage.read()
    tests = {}
    for path in coverage.measured_files():
        contexts = coverage.contexts_by_lineno(path)
        tests[Path(path).relative_to(ROOT).as_posix()] = {
            line: sorted({name.rpartition("|")[0] for name in names if name}) for line, names in contexts.items()
        }
    seconds = {
        f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}": float(case.get("time", 0.0))
        for case in ElementTree.parse(times).iter("testcase")
    }
    return Reach(tests, seconds)
