"""`plugins` of a sweep file: Python files with stages and scores of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memloc.config import Registry, written
from memloc.errors import UsageError
from memloc.own_code import OwnCode, absolute, read
from memloc.sweep.yaml import Document


def with_plugins(document: Document, folder: Path, registry: Registry) -> tuple[Registry, tuple[OwnCode, ...]]:
    """(the registry with what the document's plugins add, the plugins' files). folder: relative paths are below it.

    Raises:
        UsageError: naming each plugin that cannot be used.
    """
    listed: Any = document.value.get("plugins") if isinstance(document.value, dict) else None
    if listed is None:
        return registry, ()
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        valid = "valid: a list of Python files and modules, such as [my_stage.py, package.module]"
        raise UsageError(f"{document.at('plugins')}: {written(listed)} is not valid; {valid}")
    codes: dict[OwnCode, None] = {}
    extended, problems = registry, []
    for i, origin in enumerate(listed):
        try:
            code = read(absolute(origin, folder))
            code.module()
            extended = registry.extended((*codes, code))
            codes[code] = None
        except UsageError as error:
            problems += [f"{document.at('plugins', i)}: {problem}" for problem in error.problems]
        except (OSError, RuntimeError, ValueError) as error:
            problems.append(f"{document.at('plugins', i)}: {written(origin)} is not valid: {error}")
    if problems:
        raise UsageError(*problems)
    return extended, tuple(codes)
