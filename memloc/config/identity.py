"""Identity by fingerprint: the same meaning, the same id."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from memloc.config.types import Config, Neutral, leaves


def canonical(value: Any) -> Any:
    """`value` in the one form that its meaning has: None left out of mappings, 1.0 as 1, tuples as lists.

    A configuration is its flat form without neutral values.

    Raises:
        TypeError: for what has no canonical form (NaN, sets, objects, non-text keys).
    """
    if isinstance(value, Config):
        return canonical({name: v for name, v, markers in leaves(value) if Neutral(v) not in markers})
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"a key of {value!r} is not text")
        return {k: canonical(v) for k, v in sorted(value.items()) if v is not None}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form")
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form")


def canonical_json(value: Any) -> str:
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits (64 bits of sha256 over the canonical JSON)."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
