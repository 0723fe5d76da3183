"""What every network's configuration has: its name, which images fit, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from memloc.config.types import Variant
from memloc.errors import UsageError


class ArchitectureConfig(Variant):
    """Base of the architectures' own fields. The subclasses stand with their architecture.

    FORM: how one writes the name; None: the name itself, or with a prefix `timm:NAME`. NOT_COMPILED: why `compile: true` is
    refused, or None. WEIGHT_GATES: whether single weights can be neurons (models/weight_gates.py).
    """

    KIND: ClassVar[str] = "name"
    FLAT: ClassVar[str | None] = "model"
    FORM: ClassVar[str | None] = None
    NOT_COMPILED: ClassVar[str | None] = None
    WEIGHT_GATES: ClassVar[bool] = False

    name: str
    """The network. [paper §3; timm, python: memloc]"""

    @classmethod
    def absolute(cls, name: str, folder: Path) -> str:
        """The same name, a path in it made absolute; folder: a relative one is below it.

        Raises:
            OSError, RuntimeError, ValueError: it holds what can be no path.
        """
        return name

    @classmethod
    def placeless(cls, name: str) -> str:
        """The same name, of a path in it only what it names, without the folders above it."""
        return name

    @classmethod
    def known(cls, name: str) -> str | None:
        """For architectures that share a prefix: the full name, if `name` is one of them without the prefix; else None."""
        return None

    def misfit(self, shape: tuple[int, int, int], classes: int) -> str | None:
        """Why the network cannot take images of shape (C, H, W), in one line; None if it can."""
        return None

    def misfits(self, shape: tuple[int, int, int], classes: int) -> dict[str, str]:
        """{field: problem} of what cannot be run on images of shape (C, H, W)."""
        problem = self.misfit(shape, classes)
        return {} if problem is None else {"dataset": problem}

    def with_source(self, file: str) -> Self:
        """The same network with the file at hand that made it; `origin` needs it where a configuration comes from a store.

        Raises:
            UsageError: it is another file, or the network needs none.
        """
        raise UsageError(f"source {file}: model {self.name} needs no file")

    def identity(self) -> dict[str, str | None]:
        """{flat field: its value in the identity of a training}, where that is not the field's own value."""
        return {}

    def files(self) -> dict[str, str]:
        """{sha256: path} of the files that a training begins with. They are on the machine where the sweep is launched."""
        return {}
