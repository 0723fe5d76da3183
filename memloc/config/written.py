"""Values as a sweep file has them, for messages and for the list of fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def written(value: Any, quote: bool = True) -> str:
    """A value as one writes it in a sweep file: `null`, `true`, `[0, 1]`, `{a: 1}`, `'text'`.

    quote: whether text stands in quotes. In a message the quotes show where a text begins and ends.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(item, quote)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(written(item, quote) for item in value)}]"
    return repr(value) if quote and isinstance(value, str) else str(value)
