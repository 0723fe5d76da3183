"""Reads, checks and expands a sweep file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from memloc.config import Registry
from memloc.errors import UsageError
from memloc.own_code import OwnCode, is_path
from memloc.sweep import yaml
from memloc.sweep.block import Block
from memloc.sweep.checker import Checker
from memloc.sweep.command_line import Overrides
from memloc.sweep.expand import Expansion
from memloc.sweep.file import SweepFile
from memloc.sweep.plugins import with_plugins
from memloc.sweep.presets import presets
from memloc.sweep.request import Sweep
from memloc.sweep.shipped import shipped

MANY = 100_000
NAME = re.compile(r"\w[\w.-]*")  # `@` would stand before a record's hash


def load(
    path: Path, registry: Registry, overrides: Sequence[str] = (), many: bool = False, first: int | None = None
) -> Sweep:
    """The sweep of a file.

    Args:
        registry: the fields of trainings, and the stages.
        overrides: `FIELD=VALUE` or `STAGE.FIELD=VALUE` from the command line.
        many: whether more than 100,000 trials are allowed.
        first: if there are more than 100,000 trials, expand only this many.

    Raises:
        UsageError: with every problem of the file and of the overrides, one per line.
    """
    document = yaml.read(path)
    # No C-scores lie beside a shipped file. They are in the data directory, which is known later.
    folder = None if path.resolve() in {file.resolve() for file in shipped().values()} else path.parent
    registry, plugins = with_plugins(document, path.parent, registry)
    file = SweepFile(document, Checker(registry, folder))
    if not NAME.fullmatch(path.stem):
        file.problems.append(f"{document.name}: a sweep is named by its file, with letters, digits, '_', '-' and '.'")
    blocks = file.blocks()
    typed = Overrides(blocks, Checker(registry, Path.cwd()), file.problems)
    typed.apply(overrides)
    total = sum(block.count() for block in blocks)
    expansion = Expansion(registry, file.problems, shortened="epochs" in typed.given)
    if total > MANY and not many and first is None:
        file.problems.append(f"{document.name}: {total:,} trials; more than {MANY:,} need --yes")
    else:
        if not many:
            expansion.limit = first if first is not None and total > MANY else MANY + 1
        expansion.add([block for block in blocks if block.comparable])
        if not many and (total > MANY or len(expansion.entries) > MANY):
            count = f"{total:,}" if total > MANY else f"more than {MANY:,}"  # a stage may make many trainings of one
            if first is None:
                file.problems.append(f"{document.name}: {count} trials, which need --yes")
            else:
                expansion.keep_first(first)
                expansion.notes.append(f"{count} trials; only the first {len(expansion.entries)} were looked at")
    if file.problems:
        raise UsageError(*dict.fromkeys(file.problems))
    about = str(document.value.get("about", ""))
    entries, notes = tuple(expansion.entries.values()), tuple(dict.fromkeys(expansion.notes))
    return Sweep(path.stem, about, entries, notes, path.parent, plugins, tuple(_own_files(plugins, blocks)))


def _own_files(plugins: Sequence[OwnCode], blocks: Sequence[Block]) -> Iterator[str]:
    """The user's files that a sweep needs besides its own."""
    shipped_presets = presets().values()
    yield from (code.origin for code in plugins if is_path(code.origin))
    yield from dict.fromkeys(str(b.preset) for b in blocks if b.preset is not None and b.preset not in shipped_presets)
