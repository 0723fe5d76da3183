"""The check of an index that somebody may have made: every value of every commit, column by column.

What passes becomes arrays of numpy (index_columns.py), a row group after the other, so that memory holds the texts of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pydantic_core

from memloc.store import columns, documents, layout
from memloc.store.columns import Texts, Words
from memloc.store.manifest_form import GenerationFile

MAYBE_NULL = ("analysis",)
JSON = ("part", "config", "where")
STAGE = re.compile(documents.NAME)
TABLE, SCHEMA = re.compile(layout.TABLE), re.compile("[^\\x00-\\x1f]{0,64}")
# What no configuration has: numbers that are not finite or have many digits, and values within many values.
_ODD = re.compile(r"NaN|Infinity|[0-9]{18}|[eE][+-]?[0-9]{3}")


def value(name: str, text: str) -> Mapping[str, Any]:
    """The fields that JSON of a column holds; ValueError where it holds none."""
    plain = not (_ODD.search(text) or text.count("[") + text.count("{") >= documents.DEEPEST)
    fields = pydantic_core.from_json(text) if plain else documents.parse(text.encode())
    if not isinstance(fields, dict):
        raise ValueError(f"{name}: it has {text[:40]!r} where fields belong")
    return fields


def checked(rows: pa.Table, files: Sequence[GenerationFile], words: Words) -> dict[str, Any]:
    """The columns of some rows of an index as arrays (index_columns.py). words: gets their texts.

    Raises:
        ValueError: one phrase on the first thing that is wrong.
    """
    for name in rows.column_names:
        if rows[name].null_count and name not in MAYBE_NULL:
            raise ValueError(f"{name}: a value is missing")
    reads, entries = (rows[name].combine_chunks() for name in ("reads", "files"))
    training = columns.nulls(rows["analysis"])
    arrays = {
        "training": training,
        "analysis": np.zeros(rows.num_rows, dtype=np.uint64),
        "sha8": _hexadecimal("sha8", rows["sha8"], 8).view(">u4").ravel().astype(np.uint32),
        "reads.length": columns.lengths(reads),
        "reads": _ids("reads", reads.flatten()),
        "files.length": columns.lengths(entries),
    }
    arrays["analysis"][~training] = _ids("analysis", pc.drop_null(rows["analysis"]))
    arrays |= {name: _ids(name, rows[name]) for name in ("id", "trial")}
    arrays |= {name: _json(name, rows[name], words.json) for name in JSON}
    arrays["stage"] = _matching("stage", rows["stage"], STAGE, words.names)
    numbers = ("nth", "of", "schema", "seconds", "passes", "ended")
    arrays |= {name: columns.plain(rows[name]) for name in numbers}
    if (training & (arrays["id"] != arrays["trial"])).any():
        raise ValueError("analysis: it has a training that is of another trial")
    if ((arrays["nth"] < 0) | (arrays["nth"] >= arrays["of"])).any():
        raise ValueError("nth: it has a part beyond the last")
    for name in ("seconds", "passes", "ended"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name}: it has a number that is not finite")
    return arrays | _entries(entries.flatten(), files, words.names)


def _entries(entries: Any, files: Sequence[GenerationFile], texts: Texts) -> dict[str, Any]:
    """The columns of the data files."""
    for name in [field.name for field in entries.type]:
        if entries.null_count or entries.field(name).null_count:
            raise ValueError(f"files.{name}: a value is missing")
    fields = dict(zip((field.name for field in entries.type), entries.flatten(), strict=True))
    arrays = {name: columns.plain(fields[name]) for name in ("rows", "size", "within", "first")}
    arrays["table"] = _matching("files.table", fields["table"], TABLE, texts)
    arrays["file_schema"] = _matching("files.schema", fields["schema"], SCHEMA, texts)
    arrays["sha256"] = _hexadecimal("files.sha256", fields["sha256"], 64)
    arrays["footer"] = _hexadecimal("files.footer", fields["footer"], 64, or_none=True)  # version 2 of commits has none
    rows, size, within, first = (arrays[name] for name in ("rows", "size", "within", "first"))
    if ((within < 0) | (within >= len(files))).any():
        raise ValueError("files.within: it names a generation file that the manifest does not have")
    held = np.array([file.rows for file in files], dtype=np.int64)[within]
    if ((rows < 0) | (size < 0) | (first < 0) | (first > held) | (rows > held - first)).any():
        raise ValueError("files.first: it names rows beyond the last")
    own = np.array([texts.number(file.table) for file in files], dtype=np.int32)[within]
    if (own != arrays["table"]).any():
        raise ValueError("files.table: it names a generation file of another table")
    return arrays


def _json(name: str, column: Any, texts: Texts) -> Any:
    before = len(texts.known)
    numbers = _matching(name, column, None, texts)
    for text in texts.known[before:]:
        value(name, text)
    return numbers


def _matching(name: str, column: Any, form: re.Pattern[str] | None, texts: Texts) -> Any:
    """The numbers of texts that have a form."""
    numbers = texts.numbers(column)
    for number in set(numbers.tolist()) if form else ():
        assert form is not None
        if not form.fullmatch(texts.known[number]):
            raise ValueError(f"{name}: it has {texts.known[number][:80]!r}")
    return numbers


def _ids(name: str, column: Any) -> Any:
    return _hexadecimal(name, column, 16).view(">u8").ravel().astype(np.uint64)


def _hexadecimal(name: str, column: Any, digits: int, or_none: bool = False) -> Any:
    try:
        return columns.hexadecimal(column, digits, or_none)
    except ValueError as error:
        raise ValueError(f"{name}: it has {str(error)[:80]!r}") from None
