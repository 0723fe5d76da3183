"""The place of a plugin's stage in summaries and on the page, from the store alone: the plugin need not be there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache

import duckdb
import pyarrow as pa

from memloc import stages
from memloc.analysis.connection import interruptible
from memloc.analysis.reader import Reader
from memloc.analysis.views import ordered_mean
from memloc.counts import counted
from memloc.stages.instrument import Instrument, Row
from memloc.stages.plugins import NAME

LAST = 1000  # after memloc's own
SAID = 4  # rows that are said in a summary
SEVERAL = ("epoch", "mode")  # numbers that say what a row is about; every text does
LEFT_OUT = ("analysis", "trial", "example", "repeat", "seconds")


def is_own(stage: str) -> bool:
    """Is a stage that of a plugin, here or elsewhere?"""
    return stage not in stages.STAGES or stages.STAGES[stage].code is not None


def own_tables(reader: Reader) -> dict[str, list[str]]:
    """{stage of a plugin: the tables that it has written}."""
    commits = reader.seen.commits
    own = sorted(stage for stage in set(commits.said("stage")) - {"train"} if is_own(stage))
    return {stage: list(dict.fromkeys(f.table for c in commits.of_stage(stage) for f in c.files)) for stage in own}


def layered_tables(reader: Reader) -> list[tuple[str, str]]:
    """(stage of a plugin, table with rows by layer) of each such table."""
    tables = ((stage, table) for stage, named in own_tables(reader).items() for table in named)
    return [(stage, table) for stage, table in tables if "layer" in reader.schema(table).names]


def own_instruments(reader: Reader, there: Collection[str]) -> Iterator[Instrument]:
    """An instrument for each table of a plugin's stage: the means of its numbers, by what tells its rows apart.

    there: the stages that have complete analyses.
    """
    for stage, named in sorted(own_tables(reader).items()):
        for table in named if stage in there else ():
            keys, numbers = _columns(reader.schema(table))
            means = [f"{ordered_mean(quoted(name) + '::DOUBLE')} AS {quoted(name)}" for name in numbers]
            columns = ", ".join([*map(quoted, keys), *means, "count(*) AS n"])
            title = f"Stage {stage}" if len(named) == 1 else f"Stage {stage}, table {table}"
            say = _said(keys, numbers)
            yield Instrument(LAST, title, stage, quoted(table), columns, say, memorizing=False)


def _columns(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """(columns that tell rows apart, columns of numbers)."""
    own = [field for field in schema if field.name not in LEFT_OUT]
    keys = [f.name for f in own if pa.types.is_string(f.type) or f.name in SEVERAL]
    numeric = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return keys, [f.name for f in own if f.name not in keys and any(is_one(f.type) for is_one in numeric)]


def _said(keys: Sequence[str], numbers: Sequence[str]) -> Callable[[list[Row]], str]:
    def say(rows: list[Row]) -> str:
        said = [_row(row, keys, numbers) for row in rows[:SAID]]
        more = [f"and {counted(len(rows) - SAID, 'more row')}"] if len(rows) > SAID else []
        return "; ".join([*said, *more]) + "."

    return say


def _row(row: Mapping[str, object], keys: Sequence[str], numbers: Sequence[str]) -> str:
    of = ", ".join(f"{key} {row[key]}" for key in keys)
    means = ", ".join(f"mean {name} {row[name]:.3g}" if row[name] is not None else f"no {name}" for name in numbers)
    return f"{of}: {means}" if of and means else of or means or f"{row['n']} rows"


def quoted(name: str) -> str:
    """A name as SQL has it, in quotes only where it needs them."""
    if NAME.fullmatch(name) and name not in _keywords():
        return name
    return '"' + name.replace('"', '""') + '"'


@cache
def _keywords() -> frozenset[str]:
    with interruptible(), closing(duckdb.connect(":memory:")) as connection:
        rows = connection.sql("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category <> 'unreserved'").fetchall()
    return frozenset(name for (name,) in rows)
