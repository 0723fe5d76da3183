"""The sources of a user's own images, a module each: `SOURCE` is the class, its `PREFIX` how `dataset` begins."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from memloc.data.catalogue import SOURCES, ByName
from memloc.data.source import OwnSource, Source

__all__ = ["KINDS", "OWN"]


def _own() -> dict[str, type[OwnSource]]:
    modules = sorted(module.name for module in iter_modules([str(Path(__file__).parent)]))
    classes = [import_module(f"{__name__}.{name}").SOURCE for name in modules]
    return {source.PREFIX: source for source in sorted(classes, key=lambda source: str(source.PREFIX))}


OWN = _own()
# {name, or the prefix of a user's own images: the class}. A data set that a program registers is added under its name.
KINDS: dict[str, type[Source]] = {**dict.fromkeys(SOURCES, ByName), **OWN}
