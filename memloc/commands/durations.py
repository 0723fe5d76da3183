"""Durations as a person types them in an option."""

from __future__ import annotations

import re

from memloc.errors import UsageError

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_WRITTEN = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([smhdw])")


def in_seconds(option: str, text: str) -> float:
    """The seconds of `30s`, `90m`, `12h`, `7d` or `2w`; raises UsageError where the text is none of that."""
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise UsageError(f"{option} {text!r}: valid: a number and a unit, as in 30s, 90m, 12h, 7d or 2w")
    return float(written[1]) * UNITS[written[2]]
