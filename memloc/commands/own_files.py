"""`--plugins`: Python files of the user's that a command executes, so that it knows the data sets that they register."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from memloc.errors import UsageError


def loaded(plugins: Collection[str]) -> list[str]:
    """The plugins, files by their absolute paths. They are executed, so the data sets that they register are known.

    Raises:
        UsageError: one of them cannot be used.
    """
    from memloc import own_code

    origins, problems = [], []
    for plugin in dict.fromkeys(plugins):
        try:
            code = own_code.read(own_code.absolute(plugin, Path.cwd()))
            code.module()
            origins.append(code.origin)
        except (UsageError, OSError, RuntimeError, ValueError) as error:
            said = error.problems if isinstance(error, UsageError) else [f"{plugin!r} is not valid: {error}"]
            problems += [f"--plugins: {problem}" for problem in said]
    if problems:
        raise UsageError(*problems)
    return origins
