"""The sizes that CONTRIBUTING.md sets: 300 lines a module, 40 lines a function, 6 parameters."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = [path for folder in ("memloc", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
COMMANDS = ROOT / "memloc" / "commands"  # a Typer command has a parameter, often of several lines, for each option


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef))


def lines_of(function: ast.FunctionDef, first: int) -> int:
    """From line `first` to the end, without the docstring."""
    doc = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    return (function.end_lineno or 0) - first + 1 - (0 if doc is None else (doc.end_lineno or 0) - doc.lineno + 1)


def test_modules() -> None:
    assert len(MODULES) > 200
    assert [path for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > 300] == []


def test_functions() -> None:
    long = []
    for path in MODULES:
        for f in functions(path):
            first = f.body[0].lineno if path.parent == COMMANDS else f.lineno
            if lines_of(f, first) > 40:
                long.append((path, f.name))
    assert long == []


def test_parameters() -> None:
    many = []
    for path in MODULES:
        for f in functions(path):
            names = [a.arg for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")]
            if len(names) > 6 and path.parent != COMMANDS:
                many.append((path, f.name))
    assert many == []
