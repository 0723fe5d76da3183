"""The papers by name: a folder in memloc/papers/ each, then those of the user's files and of installed packages."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from memloc.errors import UsageError, nearest
from memloc.own_code import OwnCode, is_path, read

if TYPE_CHECKING:
    from memloc.papers.paper import Paper

NAMES = tuple(sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py")))
USUAL = "maini2023"
GROUP = "memloc.papers"  # the entry points of installed packages


def paper(name: str = USUAL) -> Paper:
    """The paper of this name, or that of a Python file, which has one `Paper` at its top level.

    Raises:
        UsageError: there is none.
    """
    if name in NAMES:
        loaded: Paper = import_module(f"memloc.papers.{name}").PAPER
        return loaded
    try:
        if is_path(name):
            return _of(read(name))
        installed = _installed()
        if name in installed:
            return _of(read(installed[name].module), installed[name].attr)
    except UsageError as error:
        raise UsageError(*(f"paper {problem}" for problem in error.problems)) from None
    valid = (*NAMES, *installed)
    raise UsageError(
        f"paper {name}: no such paper{nearest(name, valid)}; valid: {', '.join(valid)}, or a file of your own (*.py)"
    )


def names_of(stages: Collection[str]) -> list[str]:
    """The usual paper, then those of memloc's own that make claims about one of these stages."""
    others = (name for name in NAMES if name != USUAL)
    return [USUAL, *(name for name in others if any(claim.stage in stages for claim in paper(name).claims))]


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def _of(code: OwnCode, attribute: str = "") -> Paper:
    """The paper of a file. attribute: the name under which it stands there; "": it is the only one."""
    from memloc.papers.own_paper import explained
    from memloc.papers.paper import Paper

    names = vars(code.module())
    papers = [value for key, value in names.items() if isinstance(value, Paper) and attribute in ("", key)]
    if len(papers) != 1:
        raise UsageError(f"{code.origin}: has {len(papers)} papers; it needs one `Paper(…)` at its top level")
    return explained(papers[0], code)
