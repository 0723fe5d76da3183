"""Which SQL is admitted to a store: one statement that only reads, as DuckDB's own parser judges it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from memloc.errors import UsageError

_SPACE = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)  # blanks and comments, which may stand before a word
_EXPLAIN = re.compile(r"explain\b", re.IGNORECASE)
_OPTIONS = re.compile(r"analyze\b|\(", re.IGNORECASE)
VALID = "valid: one SELECT (or FROM, WITH, VALUES, PIVOT … IN, UNPIVOT, DESCRIBE, SUMMARIZE, SHOW TABLES), or EXPLAIN of one"
# Functions and schemas that list all tables, also those that a query does not name.
_CATALOG = re.compile(r"(duckdb|pragma)_\w+|pg_\w+|sqlite_\w+|information_schema", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """One admitted statement. select: without the EXPLAIN that may stand before it."""

    select: str
    explain: bool = False

    @property
    def sql(self) -> str:
        """The text to run."""
        return f"EXPLAIN {self.select}" if self.explain else self.select


@dataclass(frozen=True)
class Mentions:
    """The names in a statement. names: tables, functions, texts, in lower case. catalog: it asks which tables exist."""

    names: frozenset[str]
    catalog: bool


def admit(connection: Any, sql: str) -> Statement:
    """The statement in `sql`, ready to run: one SELECT, or a plain EXPLAIN of one (EXPLAIN ANALYZE would execute it).

    DuckDB's parser has judged exactly the text that is returned: comments before it are cut off first. To that parser FROM,
    WITH, VALUES, PIVOT with its values, UNPIVOT, DESCRIBE, SUMMARIZE and SHOW are SELECTs.

    Raises:
        UsageError: it is anything else.
    """
    text = _after_space(sql)
    explain = _EXPLAIN.match(text)
    if explain:
        text = _after_space(text[explain.end() :])
        if _OPTIONS.match(text):
            raise UsageError("SQL: EXPLAIN with options executes the statement; valid: one SELECT, or EXPLAIN SELECT")
    kinds = [statement.type.name for statement in connection.extract_statements(text)]
    if kinds != ["SELECT"]:
        raise UsageError(f"SQL: {_problem(kinds)}")
    return Statement(text, explain is not None)


def _problem(kinds: list[str]) -> str:
    """Why statements of these kinds are not admitted."""
    if not kinds:
        return f"there is no statement in it; {VALID}"
    if kinds == ["MULTI"]:  # DuckDB first asks for the values, then selects
        return "PIVOT without its values runs several statements; add them: PIVOT … ON column IN ('a', 'b') USING …"
    refused = list(dict.fromkeys(kind for kind in kinds if kind not in ("SELECT", "MULTI")))
    if refused:
        is_are = "is" if len(refused) == 1 else "are"
        return f"{' and '.join(refused)} {is_are} not allowed: a store is only read; {VALID}"
    return f"these are {len(kinds)} statements; ask them one at a time"


def mentions(connection: Any, select: str) -> Mentions | None:
    """The names that DuckDB's parser finds in a SELECT; None if it cannot tell."""
    ((answer,),) = connection.execute("SELECT json_serialize_sql(?)", [select]).fetchall()
    tree = json.loads(answer)
    if tree["error"]:
        return None
    texts = list(_texts(tree))
    catalog = any(key == "show_type" and text.startswith(("SHOW_SPECIAL", "SHOW_FROM")) for key, text in texts)
    named = ("function_name", "table_name", "schema_name", "catalog_name")
    catalog = catalog or any(key in named and _CATALOG.fullmatch(text) for key, text in texts)
    return Mentions(frozenset(text.lower() for _, text in texts), catalog)


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a tree with the key that it stands under."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value, key)
    elif isinstance(node, str):
        yield key, node


def _after_space(text: str) -> str:
    space = _SPACE.match(text)
    return text[space.end() :] if space else text
