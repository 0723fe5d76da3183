"""Everything public in the packages that people call or read says what it does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import memloc

PACKAGE = Path(memloc.__file__).parent
PACKAGES = ("store", "analysis", "api", "commands", "statistics")


def undocumented(tree: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield f"{prefix}{node.name} (line {node.lineno})"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node, f"{node.name}.")


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_docstrings(package: str) -> None:
    modules = sorted((PACKAGE / package).rglob("*.py"))
    assert modules
    missing = [
        f"{m.relative_to(PACKAGE)}: {name}" for m in modules for name in undocumented(ast.parse(m.read_text("utf-8")))
    ]
    assert missing == []
    assert all(ast.get_docstring(ast.parse(m.read_text("utf-8"))) for m in modules)
