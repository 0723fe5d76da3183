"""The values of a query as text: numbers and bytes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

EXACT = 1e15  # a whole number below it has all of its digits


def number(value: float, digits: int) -> str:
    """A number to so many digits. One that has more before the point is written to the unit, and not as `1.23e+06`."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < EXACT else text


def readable(value: Any) -> Any:
    """A value with bytes in it as DuckDB writes them: JSON and CSV have no type for them."""
    if isinstance(value, bytes):
        return letters(value)
    if isinstance(value, dict):
        return {_inner(k): _inner(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_inner(v) for v in value]
    return tuple(map(_inner, value)) if type(value) is tuple else value  # an entry of a MAP


def _inner(value: Any) -> Any:
    """A value inside of another one, where an exact number would be written as Python code."""
    return plain_number(value) if isinstance(value, Decimal) else readable(value)


def plain_number(value: Decimal) -> float:
    """An exact number (a sum of whole numbers is one) as a whole number, if it is one."""
    return int(value) if value == value.to_integral_value() else float(value)


def as_texts(rows: pa.Table) -> pa.Table:
    """The rows with columns of bytes, lists and structs as columns of text."""
    import pyarrow as pa

    for place, field in enumerate(rows.schema):
        kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_nested)
        if any(is_of(field.type) for is_of in kinds):
            texts = [None if v is None else str(readable(v)) for v in rows[place].to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(texts, pa.string()))
    return rows


def letters(value: bytes) -> str:
    r"""Bytes as text: what is no letter of ASCII is written as `\x00`."""
    return "".join(chr(b) if 32 <= b < 127 and b not in b"\"'\\" else f"\\x{b:02X}" for b in value)
