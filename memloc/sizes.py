"""Sizes as a person reads and types them."""

from __future__ import annotations

import re

from memloc.errors import UsageError

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_WRITTEN = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([kmgt]?b)?", re.IGNORECASE)


def in_bytes(option: str, text: str) -> int:
    """The bytes of `500GB`, `1.5 TB` or `800000000`; raises UsageError where the text is none of that."""
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise UsageError(f"{option} {text!r}: valid: a number and a unit, as in 800MB, 500GB or 1.5TB")
    unit = (written[2] or "").lower()
    return int(float(written[1]) * UNITS["" if unit == "b" else unit])


def bytes_in_words(n: float) -> str:
    """`512 B`, `1.5 KB`, `120 MB`: three digits, units of 1000."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit == "B" or n >= 100 else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError("unreachable")
