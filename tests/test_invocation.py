"""What messages tell a person to type: it names the program as it was called, and the store unless it is the default."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import memloc
from memloc import invocation
from memloc.errors import StoreError
from memloc.store.opening import existing

ROOT = Path(memloc.__file__).parent


@pytest.mark.parametrize(
    ("called", "installed", "program"),
    [
        ("/venv/bin/memloc", "/venv/bin/memloc", "memloc"),
        ("/venv/bin/memloc", None, "/venv/bin/memloc"),
        ("/venv/bin/memloc", "/other/bin/memloc", "/venv/bin/memloc"),
        ("/src/memloc/__main__.py", "/venv/bin/memloc", "python -m memloc"),
        ("/lib/ipykernel_launcher.py", "/venv/bin/memloc", "memloc"),
        ("/lib/ray/default_worker.py", None, "python -m memloc"),
        ("my_script.py", None, "python -m memloc"),
    ],
)
def test_how_the_program_is_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, installed: str | None, program: str
) -> None:
    for path in (called, installed):
        if path and path.startswith("/"):
            (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path[1:]).touch()
    here = str(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{here}{called}" if called.startswith("/") else called])
    monkeypatch.setattr(invocation.shutil, "which", lambda name: f"{here}{installed}" if installed else None)
    assert invocation.program().replace(here, "") == program


def test_the_store_is_named_unless_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["memloc"])
    monkeypatch.delenv("MEMLOC_STORE", raising=False)
    assert invocation.command("status") == invocation.command("status", "./memloc-store") == "`memloc status`"
    assert invocation.command("status", "/a b") == "`memloc status --store '/a b'`"
    monkeypatch.setenv("MEMLOC_STORE", "/a b")
    assert invocation.command("status", "/a b") == "`memloc status`"
    assert invocation.command("status", "./memloc-store") == "`memloc status --store ./memloc-store`"
    with pytest.raises(StoreError, match=f"`memloc sweep NAME --store {tmp_path}/none` makes one"):
        existing(f"{tmp_path}/none")


@pytest.mark.parametrize("path", sorted((ROOT / "run").rglob("*.py")), ids=lambda path: path.name)
def test_every_public_function_of_run_says_what_it_does(path: Path) -> None:
    """Also methods; `lint` asks for docstrings of modules alone."""

    def without(node: ast.AST) -> list[str]:
        inner = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.FunctionDef | ast.ClassDef)]
        public = [n for n in inner if not n.name.startswith("_")]
        missing = [n.name for n in public if not ast.get_docstring(n)]
        return missing + [name for n in public if isinstance(n, ast.ClassDef) for name in without(n)]

    assert without(ast.parse(path.read_text(encoding="utf-8"))) == []
