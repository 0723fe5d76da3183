"""What is said of a bad value: the valid ones, and what its author may have meant."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from memloc.config.types import Valid
from memloc.errors import nearest

BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def describe(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """The valid values of a type, in a phrase."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return describe(inner, (*metadata, *more))
    for marker in metadata:
        if isinstance(marker, Valid):
            return marker.phrase
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"a non-empty list without duplicates, each {describe(get_args(annotation)[0])}"
    options = get_args(annotation)
    if options:  # X | None, X | Y
        phrases = [describe(a, metadata) for a in options if a is not type(None)]
        return " or ".join([*phrases, *(["null"] if len(phrases) < len(options) else [])])
    kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(annotation, str(annotation))
    return (kind + _interval(metadata)).strip()


def _interval(metadata: tuple[Any, ...]) -> str:
    every = [m for entry in metadata for m in (entry.metadata if isinstance(entry, FieldInfo) else [entry])]
    bounds = []
    for bound in every:
        if isinstance(bound, Gt):
            bounds.append(f"> {bound.gt}")
        elif isinstance(bound, Ge):
            bounds.append(f">= {bound.ge}")
        elif isinstance(bound, Lt):
            bounds.append(f"< {bound.lt}")
        elif isinstance(bound, Le):
            bounds.append(f"<= {bound.le}")
        elif isinstance(bound, MinLen):
            bounds.append("not empty")
    return " " + " and ".join(bounds) if bounds else ""


def hint(annotation: Any, value: Any) -> str:
    """The traps of YAML: `1e-3` and `no` are text, `30.0` is not a whole number."""
    wanted = str(annotation)
    if isinstance(value, str):
        if close := nearest(value, [word.removeprefix("or ") for word in describe(annotation).split(", ")]):
            return close
        if "bool" in wanted and value.lower() in BOOLEANS:
            return f" (write {BOOLEANS[value.lower()]})"
        return _hint_for_number(value, wanted)
    if isinstance(value, float) and value.is_integer() and "int" in wanted:
        return f" (write {int(value)})"
    return ""


def _hint_for_number(text: str, wanted: str) -> str:
    """What to write instead of a number that arrived as text: YAML wants `1.0e-3`, and quotes make anything text."""
    try:
        number = float(text)
    except ValueError:
        return ""
    if not math.isfinite(number):
        return ""
    if "e" not in text.lower():
        return f" (this is text: remove the quotes around {text})"
    if "float" not in wanted:
        return f" (YAML reads {text} as text: write {int(number)})" if number.is_integer() and abs(number) < 1e15 else ""
    if "e" in repr(number):
        return f" (YAML reads {text} as text: write it with a point and a sign, like 1.0e-3)"
    return f" (YAML reads {text} as text: write {number!r})"
