"""What a person types to go on: this program as the shell finds it, and the store as it was named."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

DEFAULT_STORE = "./memloc-store"


def default_store() -> str:
    """The store of a command without --store."""
    return os.environ.get("MEMLOC_STORE") or DEFAULT_STORE


def program() -> str:
    """What to type to run this program: as it was called; in a notebook or a script `memloc`, if that is installed."""
    called, installed = Path(sys.argv[0]), shutil.which("memloc")
    if called.name == "memloc":
        found_by_shell = installed and called.exists() and Path(installed).samefile(called)
        return "memloc" if found_by_shell or not called.exists() else sys.argv[0]
    return "memloc" if installed and called.name != "__main__.py" else "python -m memloc"


def at_store(store: str | None) -> str:
    """The option that names the store as the user did; empty for the default."""
    return f" --store {shlex.quote(store)}" if store and store != default_store() else ""


def command(words: str, store: str | None = None) -> str:
    """A command as one types it, in backquotes: `memloc store verify --store s3://bucket/runs`."""
    return f"`{program()} {words}{at_store(store)}`"
