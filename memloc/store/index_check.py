"""The check of an index that somebody may have made: every value of every commit, column by column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic_core

from memloc.store import documents, layout
from memloc.store.manifest_form import GenerationFile

FORMS = {"id": layout.ID, "sha8": layout.SHA8, "trial": layout.ID, "analysis": layout.ID, "stage": documents.NAME}
FILE_FORMS = {"table": layout.TABLE, "sha256": "[0-9a-f]{64}", "footer": "([0-9a-f]{64})?", "schema": "[^\\x00-\\x1f]{0,64}"}
MAYBE_NULL = ("analysis",)
JSON = ("part", "config", "where")
# What no configuration has: numbers that are not finite or have many digits, and values within many values.
_ODD = re.compile(r"NaN|Infinity|[0-9]{18}|[eE][+-]?[0-9]{3}")


def checked(rows: pa.Table, files: Sequence[GenerationFile]) -> dict[str, Mapping[str, Any]]:
    """{text of JSON: its value} of all parts, configurations and places of computation.

    Raises:
        ValueError: one phrase on the first thing that is wrong.
    """
    for wrong in _problems(rows, files):
        raise ValueError(wrong)
    values: dict[str, Mapping[str, Any]] = {}
    for name in JSON:
        for text in pc.unique(rows[name]).to_pylist():
            values[text] = _value(name, text)
    return values


def _value(name: str, text: str) -> Mapping[str, Any]:
    plain = not (_ODD.search(text) or text.count("[") + text.count("{") >= documents.DEEPEST)
    value = pydantic_core.from_json(text) if plain else documents.parse(text.encode())
    if not isinstance(value, dict):
        raise ValueError(f"{name}: it has {text[:40]!r} where fields belong")
    return value


def _problems(rows: pa.Table, files: Sequence[GenerationFile]) -> Iterator[str]:
    for name in rows.column_names:
        if rows[name].null_count and name not in MAYBE_NULL:
            yield f"{name}: a value is missing"
    for name, form in FORMS.items():
        yield from _unlike(name, rows[name], form)
    reads = rows["reads"].combine_chunks()
    yield from _unlike("reads", reads.flatten(), layout.ID)
    if len(pc.unique(rows["id"])) < rows.num_rows:
        yield "id: a part is there twice"
    untrained = pc.and_(pc.is_null(rows["analysis"]), pc.not_equal(rows["id"], rows["trial"]))
    if pc.any(untrained).as_py():
        yield "analysis: it has a training that is of another trial"
    nth, of = (rows[name].to_numpy() for name in ("nth", "of"))
    if ((nth < 0) | (nth >= of)).any():
        yield "nth: it has a part beyond the last"
    for name in ("seconds", "passes", "ended"):
        if not np.isfinite(rows[name].to_numpy()).all():
            yield f"{name}: it has a number that is not finite"
    yield from _file_problems(rows["files"].combine_chunks().flatten(), files)


def _file_problems(entries: Any, files: Sequence[GenerationFile]) -> Iterator[str]:
    for name in [field.name for field in entries.type]:
        if entries.null_count or entries.field(name).null_count:
            yield f"files.{name}: a value is missing"
    for name, form in FILE_FORMS.items():
        yield from _unlike(f"files.{name}", entries.field(name), form)
    rows, size, within, first = (entries.field(name).to_numpy() for name in ("rows", "size", "within", "first"))
    if ((within < 0) | (within >= len(files))).any():
        yield "files.within: it names a generation file that the manifest does not have"
        return
    held = np.array([file.rows for file in files], dtype=np.int64)
    if (
        len(within)
        and ((rows < 0) | (size < 0) | (first < 0) | (first > held[within]) | (rows > held[within] - first)).any()
    ):
        yield "files.first: it names rows beyond the last"
    tables = [file.table for file in files]  # a pyarrow array of them would import pandas
    if any(tables[place] != table for place, table in zip(within.tolist(), entries.field("table").to_pylist(), strict=True)):
        yield "files.table: it names a generation file of another table"


def _unlike(name: str, column: Any, form: str) -> Iterator[str]:
    """A phrase on the first value that has not the form."""
    column = pc.drop_null(column)
    unlike = column.filter(pc.invert(pc.match_substring_regex(column, f"^({form})$")))
    if len(unlike):
        yield f"{name}: it has {unlike[0].as_py()[:80]!r}"
