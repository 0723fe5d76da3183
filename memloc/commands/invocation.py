"""What a person types to go on: this program, its Python, the store as it was named."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """What to type to run this program again: `memloc` if the shell would find this one, else as it was called."""
    called = sys.argv[0]
    if Path(called).name == "__main__.py":
        return "python -m memloc"
    installed = shutil.which("memloc")
    if installed and Path(called).exists() and Path(installed).samefile(called):
        return "memloc"
    return called if Path(called).name == "memloc" else f"python {called}"


def at_store(store: str | None) -> str:
    """The option that names the store as the user did, None for the default."""
    return f" --store {shlex.quote(store)}" if store else ""
