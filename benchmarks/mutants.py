"""Keyed mutants of the code that decides what runs and what exists, against the tests that need no Ray.

A mutant is one small change of one place: another comparison, another number, a condition turned round, a statement left
out. It dies where a test fails. One that survives is a gap in the tests, or changes nothing; docs/testing.md says which.

    python -m benchmarks.mutants OUT --count 300 --jobs 2

OUT keeps what is known: the coverage of every test (about five minutes), then a line of JSON for each mutant. The same
command again goes on where it was. Needs the extra `mutants` beside `test`.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "sweep", "store", "run")
LEFT_OUT = ("memloc/run/ray/",)  # needs Ray
COPIED = ("memloc", "tests", "benchmarks", "sweeps", "docs", "pyproject.toml", "cli.py", "README.md", "Makefile")
NO_RAY = "not slow and not kill and not ray and not browser"
FIRST_SECONDS = 20.0  # of tests that a mutant meets first; who survives these meets all that reach its line
PATIENCE = 60.0  # seconds beyond three times what the tests take without a mutant: then it hangs, and that is noticed

# Changes that are one change to the eye: of each family a place has one mutant.
FAMILIES = (
    "ReplaceComparisonOperator", "ReplaceBinaryOperator", "ReplaceUnaryOperator", "AddNot", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
    "ExceptionReplacer", "NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop",
)  # fmt: skip
# `is` between numbers is a matter of the interpreter, and most shifts and bits of numbers and lists end in a TypeError.
TOO_EASY = ("_Is", "_IsNot", "_LShift", "_RShift", "_BitAnd", "_BitOr", "_BitXor")
STATEMENT = "RemoveStatement"  # our own: a call or an assignment to something that lives on, left out


@dataclass(frozen=True)
class Mutant:
    """One change. occurrence: which place of the file, as the operator counts them. line, column: where it stands."""

    path: str
    operator: str
    occurrence: int
    line: int
    column: int

    @property
    def name(self) -> str:
        return f"{self.path}:{self.line}:{self.column}:{self.operator}"


# --- the mutants ------------------------------------------------------------------------------------------------------


def mutants(seed: int, count: int) -> list[Mutant]:
    """`count` mutants of the packages, drawn without replacement by a hash of (seed, place, family)."""
    every: list[Mutant] = []
    for package in PACKAGES:
        for path in sorted((ROOT / "memloc" / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LEFT_OUT):
                every += _of_file(name, path.read_text(encoding="utf-8"), seed)
    drawn = (m for m in sorted(every, key=lambda mutant: _key(seed, mutant.name)) if _is_program(m))
    return list(islice(drawn, count))


def _is_program(mutant: Mutant) -> bool:
    """Whether it differs and can be parsed: the operators take the stars of `f(*x)` for a product."""
    source, changed = mutated(mutant)
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _key(seed: int, text: str) -> str:
    return hashlib.sha256(f"{seed}:{text}".encode()).hexdigest()


def _of_file(name: str, source: str, seed: int) -> list[Mutant]:
    """One mutant for every (place, family) of a file, its operator drawn from those of the family."""
    from cosmic_ray import plugins
    from cosmic_ray.ast import ast_nodes, get_ast

    out_of_reach = _not_run(source)
    tree = get_ast(source)
    groups: dict[tuple[int, int, str], list[Mutant]] = {}
    for operator_name in plugins.operator_names():
        family = next((f for f in FAMILIES if operator_name.startswith(f"core/{f}")), None)
        if family is None or operator_name.endswith(TOO_EASY):
            continue
        operator, occurrence = plugins.get_operator(operator_name)(), 0
        for node in ast_nodes(tree):
            for (line, column), _ in operator.mutation_positions(node):
                mutant = Mutant(name, operator_name, occurrence, line, column)
                occurrence += 1
                if (line, column) not in out_of_reach:
                    groups.setdefault((line, column, family), []).append(mutant)
    for k, statement in enumerate(_removable(source)):
        groups[(statement.lineno, statement.col_offset, STATEMENT)] = [
            Mutant(name, STATEMENT, k, statement.lineno, statement.col_offset)
        ]
    return [min(group, key=lambda mutant: _key(seed, mutant.name)) for group in groups.values()]


class _Places:
    """The places in some syntax trees: (line, column) of everything in them."""

    def __init__(self, trees: Sequence[ast.AST]) -> None:
        self.spans = [
            ((t.lineno, t.col_offset), (t.end_lineno, t.end_col_offset))  # type: ignore[attr-defined]
            for t in trees
        ]

    def __contains__(self, place: tuple[int, int]) -> bool:
        return any(start <= place < end for start, end in self.spans)


def _not_run(source: str) -> _Places:
    """Annotations, and what stands under `if TYPE_CHECKING`: the interpreter never runs them."""
    trees: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            trees.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            trees.append(node.returns)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            trees.append(node)
    return _Places(trees)


def _removable(source: str) -> list[ast.stmt]:
    """Statements whose absence leaves a program: calls for their effect, assignments to attributes and items, `raise`."""
    statements: list[ast.stmt] = []
    for node in ast.walk(ast.parse(source)):
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        lasting = isinstance(node, ast.Assign | ast.AugAssign) and any(
            isinstance(target, ast.Attribute | ast.Subscript)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        )
        if is_call or lasting or isinstance(node, ast.Raise | ast.Continue):
            statements.append(node)  # type: ignore[arg-type]
    return sorted(statements, key=lambda s: (s.lineno, s.col_offset))


def mutated(mutant: Mutant) -> tuple[str, str]:
    """(the file as it is, the file as the mutant has it)."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    if mutant.operator != STATEMENT:
        from cosmic_ray import plugins
        from cosmic_ray.mutating import mutate_code

        return source, mutate_code(source, plugins.get_operator(mutant.operator)(), mutant.occurrence) or source
    statement = _removable(source)[mutant.occurrence]
    lines = source.splitlines(keepends=True)
    first, last = lines[statement.lineno - 1], lines[(statement.end_lineno or 0) - 1]
    # Columns of a syntax tree count bytes.
    before = first.encode()[: statement.col_offset].decode()
    after = last.encode()[statement.end_col_offset :].decode()
    return source, "".join([*lines[: statement.lineno - 1], f"{before}pass{after}", *lines[statement.end_lineno :]])


# --- which tests reach which line ---------------------------------------------------------------------------------------


@dataclass
class Reach:
    """tests: {file: {line: tests}}, by a run under coverage. seconds: {test: its time}."""

    tests: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that run the mutant's line, the likeliest to notice first: the module's own, then the quickest."""
        lines = self.tests.get(mutant.path, {})
        reached = {t for line in _statement_lines(mutant) for t in lines.get(line, [])}
        if not reached:  # it runs when its module is imported
            reached = {t for tests in lines.values() for t in tests}
        stem = Path(mutant.path).stem
        folder = mutant.path.split("/")[1]

        def rank(test: str) -> tuple[bool, bool, float, str]:
            return (f"test_{stem}" not in test, f"tests/{folder}" not in test, self.seconds.get(test, 0.0), test)

        return sorted(reached, key=rank)


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


# --- trying them --------------------------------------------------------------------------------------------------------


def _in_portions(tests: list[str], seconds: dict[str, float]) -> Iterator[list[str]]:
    """First a portion of about FIRST_SECONDS, then the rest."""
    total = 0.0
    for k, test in enumerate(tests):
        total += seconds.get(test, 0.1) + 0.02
        if total > FIRST_SECONDS:
            yield tests[: k + 1]
            if tests[k + 1 :]:
                yield tests[k + 1 :]
            return
    if tests:
        yield tests


def attempt(mutant: Mutant, reach: Reach, folder: Path) -> dict[str, Any]:
    """What becomes of a mutant in a copy of the project: killed (by which test), or survived (and how it differs)."""
    source, changed = mutated(mutant)
    target, clock, verdict, by = folder / mutant.path, time.monotonic(), "survived", ""
    tests = reach.of(mutant)
    target.write_text(changed, encoding="utf-8")
    try:
        for portion in _in_portions(tests, reach.seconds):
            by = _killer(portion, reach.seconds, folder)
            if by:
                verdict = "killed"
                break
    finally:
        target.write_text(source, encoding="utf-8")
    lines = (source.splitlines(), changed.splitlines())
    diff = [d for d in unified_diff(*lines, lineterm="", n=0) if not d.startswith(("---", "+++", "@@"))]
    seconds = round(time.monotonic() - clock, 1)
    return asdict(mutant) | {
        "verdict": verdict if tests else "not reached", "by": by, "tests": len(tests), "seconds": seconds, "diff": diff
    }  # fmt: skip


def _killer(tests: list[str], seconds: dict[str, float], folder: Path) -> str:
    """The test that fails, "time" where none ends; "" where all pass."""
    env = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    listed = folder / "tests.txt"
    listed.write_text("\n".join(tests), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", f"@{listed}"]
    patience = PATIENCE + 3 * sum(seconds.get(t, 0.1) for t in tests)
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        return "time"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0][:200] if failed else f"exit {done.returncode}"


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
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(jobs) as pool:
        free: Queue[Path] = Queue()
        for k in range(jobs):
            free.put(_copy(Path(scratch) / f"copy{k}"))

        def work(mutant: Mutant) -> dict[str, Any]:
            folder = free.get()
            try:
                return attempt(mutant, reach, folder)
            finally:
                free.put(folder)

        for k, result in enumerate(pool.map(work, todo)):
            known.append(result)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            if result["verdict"] != "killed":
                print(
                    f"{k + 1}/{len(todo)} {result['verdict']}: {result['path']}:{result['line']} {result['diff']}",
                    flush=True,
                )
    return known


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
