"""A method of localization: one number per candidate neuron. memloc's own stand in methods/, a file each.

A method of the user's own is the same: an object `Method` in a Python file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from memloc.own_code import OwnCode

if TYPE_CHECKING:
    from torch import Tensor

    from memloc.stages.locate.item import Item


@dataclass(frozen=True)
class Method:
    """A method.

    scores: an item (item.py) -> one number per candidate, [total]; higher: the example lies rather there. control: it must
    not find anything, and always runs. of_other: its scores are of the item's `other`, so they are not judged beside the
    neurons of that one. code: the file of a user's own method.
    """

    name: str
    scores: Callable[[Item], Tensor]
    control: bool = False
    of_other: bool = False
    code: OwnCode | None = None


def built_in() -> tuple[Method, ...]:
    """The methods of the folder methods/, by name; controls come last."""
    names = sorted(path.stem for path in (Path(__file__).parent / "methods").glob("*.py") if path.stem != "__init__")
    methods = [import_module(f"memloc.stages.locate.methods.{name}").METHOD for name in names]
    return tuple(sorted(methods, key=lambda method: (method.control, method.name)))
