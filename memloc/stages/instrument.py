"""A stage's contribution to the closing summary of a sweep: a query, and perhaps a sentence about its rows.

The sentences about a paper come from its section in papers/. An instrument says only what no paper's estimate says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LEAST_MEMORIZED = 0.95  # noisy accuracy from which there is something to localize (science.md, The paper's numbers)

Row = dict[str, Any]
Say = Callable[[list[Row]], str]  # the rows of one setting -> sentences, "" if there is nothing to say


@dataclass(frozen=True)
class Instrument:
    """An experiment's table, and a sentence about it. A stage's summary.py has one, as `INSTRUMENT`.

    place: the smallest place comes first in the summary. title: at most 60 letters, with the paper's section. columns: they
    are selected and grouped by, after the columns that name the setting. say: None where a paper's section says it. named:
    fields of a configuration that are always named where they differ. extent: its fields that say how much is measured, not
    what; they name no setting. memorizing: the table tells something only of networks that memorized.
    """

    place: int
    title: str
    stage: str
    table: str
    columns: str
    say: Say | None = None
    where: str = ""
    order: str = "ALL"
    needs_trials: bool = False
    named: tuple[str, ...] = ()
    extent: tuple[str, ...] = ()
    memorizing: bool = True


def in_words(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if items[1:] else items)
