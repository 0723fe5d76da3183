"""A score of an example: how likely is it mislabeled? (science.md, Detection scores)

Each is one number per training example. A stage has its scores in the scores.py of its folder, as `SCORES`; its config.py
then needs nothing of them. A score of the user's own is the same: an object `Score` in a Python file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from memloc.own_code import OwnCode
from memloc.stages.base import Columns


@dataclass(frozen=True)
class Score:
    """A score of every training example.

    values: the rows of the training and of the analyses that detection reads, by table name -> one number for each row of
    table `examples`, in its order; higher: more likely mislabeled; NaN: unknown. stage: the stage of the same block whose
    rows it needs, if there is one. code: the file of a user's own score.
    """

    name: str
    values: Callable[[Mapping[str, Columns]], Any]
    stage: str | None = None
    code: OwnCode | None = None


@cache
def of_stages() -> tuple[Score, ...]:
    """The scores in the folders of memloc's stages, in the order of their names."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/scores.py"))
    return tuple(score for name in folders for score in import_module(f"memloc.stages.{name}.scores").SCORES)
