"""The values of a query as text: numbers, spans of time and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

EXACT = 1e15  # a whole number below it has all of its digits


def number(value: float, digits: int) -> str:
    """A number to so many digits. One that has more before the point is written to the unit, and not as `1.23e+06`."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < EXACT else text


def readable(value: Any) -> Any:
    """A value with spans of time and bytes in it as DuckDB writes them: JSON and CSV have no type for either."""
    import pyarrow as pa

    if isinstance(value, pa.MonthDayNano):
        return span(value)
    if isinstance(value, bytes):
        return letters(value)
    if isinstance(value, dict):
        return {readable(k): readable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [readable(v) for v in value]
    return tuple(map(readable, value)) if type(value) is tuple else value  # an entry of a MAP


def as_texts(rows: pa.Table) -> pa.Table:
    """The rows with columns of spans, bytes, lists and structs as columns of text."""
    import pyarrow as pa

    for place, field in enumerate(rows.schema):
        kinds = (pa.types.is_interval, pa.types.is_binary, pa.types.is_large_binary, pa.types.is_nested)
        if any(is_of(field.type) for is_of in kinds):
            texts = [None if v is None else str(readable(v)) for v in rows[place].to_pylist()]
            rows = rows.set_column(place, field.name, pa.array(texts, pa.string()))
    return rows


def span(value: Any) -> str:
    """`1 year 2 months 3 days 04:05:06.5` of months, days and nanoseconds."""
    years, months = _divided(value.months, 12)
    parts = [(years, "year"), (months, "month"), (value.days, "day")]
    words = [f"{n} {noun}{'' if abs(n) == 1 else 's'}" for n, noun in parts if n]
    seconds, fraction = divmod(abs(value.nanoseconds), 10**9)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{fraction:09}".rstrip("0") if fraction else ""
    sign = "-" if value.nanoseconds < 0 else ""
    return " ".join([*words, sign + clock] if value.nanoseconds or not words else words)


def _divided(n: int, by: int) -> tuple[int, int]:
    """(whole, rest), both with the sign of n."""
    whole, rest = divmod(abs(n), by)
    return (whole, rest) if n >= 0 else (-whole, -rest)


def letters(value: bytes) -> str:
    r"""Bytes as text: what is no letter of ASCII is written as `\x00`."""
    return "".join(chr(b) if 32 <= b < 127 and b not in b"\"'\\" else f"\\x{b:02X}" for b in value)
