"""Counts with their nouns, as every message writes them."""

from __future__ import annotations


def counted(n: int, noun: str) -> str:
    """`1 part`, `2 parts`, `1 analysis`, `2 analyses`."""
    plural = f"{noun[:-2]}es" if noun.endswith("sis") else f"{noun}s"
    return f"{n:,} {noun if n == 1 else plural}"
