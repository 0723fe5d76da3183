"""Identity by fingerprint: the same meaning, the same id."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from memloc.config.types import Config, Neutral, leaves

PLAIN = (str, int, bool, type(None))  # what is its own canonical form


def canonical(value: Any) -> Any:
    """`value` in the one form that its meaning has: None left out of mappings, 1.0 as 1, tuples as lists.

    A configuration is its flat form without neutral values.

    Raises:
        TypeError: for what has no canonical form (NaN, sets, objects, non-text keys).
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, Config):
        return dict(_of_config(value))
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise TypeError(f"a key of {value!r} is not text")
        return {k: canonical(v) for k, v in sorted(value.items()) if v is not None}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no canonical form")
        # Beyond 64 bits it stays as it is: no reader of JSON here takes such a whole number.
        return int(value) if value.is_integer() and abs(value) < 2**63 else value
    if isinstance(value, int | str):
        return value
    raise TypeError(f"{value!r} of type {type(value).__name__} has no canonical form")


@lru_cache(maxsize=1 << 15)
def _of_config(config: Config) -> dict[str, Any]:
    """Kept, since a plan asks for it again and again: of ten thousand trainings it would take a minute."""
    used = {n: v for n, v, markers in leaves(config) if not any(isinstance(m, Neutral) and m.value == v for m in markers)}
    return canonical(used)  # type: ignore[no-any-return]


def canonical_json(value: Any) -> str:
    """The canonical form as JSON without blanks, keys in order; raises TypeError as `canonical` does."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits (64 bits of sha256 over the canonical JSON)."""
    return digest(canonical_json(value))


def digest(text: str) -> str:
    """The fingerprint of what has this canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
