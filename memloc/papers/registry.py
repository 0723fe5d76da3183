"""The papers by name: a folder in memloc/papers/ each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from memloc.errors import UsageError, nearest

if TYPE_CHECKING:
    from memloc.papers.paper import Paper

NAMES = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py")))
USUAL = "maini2023"


def paper(name: str = USUAL) -> Paper:
    """The paper of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in NAMES:
        raise UsageError(f"--paper {name}: no such paper{nearest(name, NAMES)}; valid: {', '.join(NAMES)}")
    loaded: Paper = import_module(f"memloc.papers.{name}").PAPER
    return loaded
