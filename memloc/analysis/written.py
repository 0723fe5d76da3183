"""Values for which Arrow or Python has no type, as DuckDB writes them.

Arrow has none for a time with a zone: it would come out without it. Python has none for the date `infinity`, and none for
the time 24:00:00. Such values are text, also inside of lists, structs and maps.
"""

from __future__ import annotations

import re
from contextlib import closing
from typing import Any

import pyarrow as pa

from memloc.analysis.connection import interruptible, locked

# Arrow would hand them on as bytes, as a negative number, without the zone, or (long intervals) as another length.
NOT_IN_ARROW = re.compile(r"BIT|BIGNUM|VARINT|UHUGEINT|INTERVAL|TYPE|VARIANT|GEOMETRY.*|TIME WITH TIME ZONE")
# Python's have years 1 to 9999 and hours up to 23, none is infinite, and inside of a list they are written as Python code.
NOT_IN_PYTHON = re.compile(r"DATE|TIME.*")


def as_arrow(found: Any) -> pa.Table:
    """The rows of DuckDB's relation, text where Arrow has no type."""
    return _with_texts(found, NOT_IN_ARROW)


def written(rows: pa.Table) -> pa.Table:
    """The rows, with dates and times as text."""
    places = [place for place, field in enumerate(rows.schema) if _has_times(field.type)]
    if not places:
        return rows
    with interruptible(), closing(locked()) as connection:
        texts = _with_texts(connection.from_arrow(rows.select(places)), NOT_IN_PYTHON)
    for place, column in zip(places, texts.columns, strict=True):
        rows = rows.set_column(place, rows.field(place).name, column)
    return rows


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_times(kind.field(place).type) for place in range(kind.num_fields))
    return bool(pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind))


def _with_texts(found: Any, texts: re.Pattern[str]) -> pa.Table:
    """The rows of a relation, with text in place of these types."""
    kinds = [(str(kind), _with_text(kind, texts)) for kind in found.types]
    if all(new == old for old, new in kinds):
        return found.to_arrow_table()
    # By their places: a name may be there twice.
    taken = [f"#{n}" if new == old else f"CAST(#{n} AS {new})" for n, (old, new) in enumerate(kinds, 1)]
    return found.project(", ".join(taken)).to_arrow_table().rename_columns(found.columns)


def _with_text(kind: Any, texts: re.Pattern[str]) -> str:
    """The name of a type of DuckDB, with VARCHAR in place of these types."""
    if kind.id not in ("list", "array", "map", "struct", "tuple", "union"):
        return "VARCHAR" if texts.fullmatch(str(kind)) else str(kind)
    members = [(name, each) for name, each in kind.children if not isinstance(each, int)]  # an array has a size beside them
    if kind.id == "union":
        members = members[1:]  # the first one says which of the others is there
    inner = [_with_text(each, texts) for _, each in members]
    if inner == [str(each) for _, each in members]:
        return str(kind)
    if kind.id == "list":
        return f"{inner[0]}[]"
    if kind.id == "array":
        return f"{inner[0]}[{dict(kind.children)['size']}]"
    named = kind.id in ("struct", "union")
    return f"{kind.id}({', '.join(f'{_quoted(n)} {t}' if named else t for (n, _), t in zip(members, inner, strict=True))})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
