"""Conditions of queries."""

from __future__ import annotations

from collections.abc import Iterable


def among(column: str, values: Iterable[str]) -> str:
    """`column IN ('a', 'b')`; ids have no quotes."""
    return f"{column} IN ({', '.join(repr(v) for v in sorted(values))})"
