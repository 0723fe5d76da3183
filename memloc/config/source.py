"""What every source of data has: its name, and the paths in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from memloc.config.types import Variant


class SourceConfig(Variant):
    """Base of the sources of data: which data set, and how it is read. The subclasses stand with their source, in data/.

    FORM: how one writes `dataset`; None: its name.
    """

    KIND: ClassVar[str] = "dataset"
    FLAT: ClassVar[str | None] = "dataset"
    FORM: ClassVar[str | None] = None

    dataset: str
    """The data set: its name, or images of your own (docs/data.md). [paper §3: cifar10, mnist, svhn; the others: memloc]
    """

    @classmethod
    def absolute(cls, dataset: str, folder: Path) -> str:
        """The same data set, its paths made absolute; folder: relative ones are below it.

        Raises:
            OSError, RuntimeError, ValueError: it holds what can be no path.
        """
        return dataset

    @classmethod
    def reads(cls, path: Path) -> bool:
        """Does it read such a file or folder, to go by its name and by what is in it?"""
        return False

    @classmethod
    def placeless(cls, dataset: str) -> str:
        """The same name, of each path only what it names, without the folders above it."""
        return dataset


def written_for(path: str, sources: Mapping[str, type[SourceConfig]]) -> str:
    """How one names a data set of which somebody gives a bare path, in brackets: ` (write parquet:PATH)`; "" if unknown.

    sources: {name, or prefix: its configuration}.
    """
    if not path.strip():
        return ""
    try:
        prefix = next((name for name, kind in sources.items() if kind.reads(Path(path).expanduser())), "")
    except (OSError, RuntimeError, ValueError):  # it can be no path
        return ""
    return f" (write {prefix}{path})" if prefix else ""
