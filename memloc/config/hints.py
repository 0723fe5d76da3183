"""What is said of a bad value: the valid ones, and what its author may have meant."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from memloc.config.numerals import as_items, as_list, as_number
from memloc.config.types import Valid
from memloc.errors import nearest

BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def valid_values(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """The valid values of a type, in a phrase."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return valid_values(inner, (*metadata, *more))
    for marker in metadata:
        if isinstance(marker, Valid):
            return marker.phrase
    if get_origin(annotation) is Literal:
        return ", ".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        return f"a non-empty list without duplicates, each {valid_values(get_args(annotation)[0])}"
    options = get_args(annotation)
    if options:  # X | None, X | Y
        return _either([valid_values(a, metadata) for a in options if a is not type(None)], type(None) in options)
    kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}.get(annotation, str(annotation))
    return (kind + _interval(metadata)).strip()


def _either(phrases: list[str], or_null: bool) -> str:
    """One of several kinds of value. null stands before a list, so that it is not taken for one of its items."""
    if or_null and any(phrase.startswith("a non-empty list") for phrase in phrases):
        return f"null, or {' or '.join(phrases)}"
    every = [*phrases, "null"] if or_null else phrases
    comma = "," if len(every) > 2 or "," in every[0] else ""
    return f"{', '.join(every[:-1])}{comma} or {every[-1]}"


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
    """What the author of a bad value may have meant, in brackets; "" if that is unknown."""
    if isinstance(value, str):
        items = item_type(annotation)
        if items and value in valid_values(items).split(", "):
            return f" (write [{value}])"
        phrases = (valid_values(annotation), valid_values(items)) if items else (valid_values(annotation),)
        options = [option.removeprefix("or ") for phrase in phrases for option in phrase.split(", ")]
        if close := nearest(value, [option for option in options if not option.startswith(("a ", "each "))]):
            return close
        kinds = scalars(annotation)
        if bool in kinds and value.lower() in BOOLEANS:
            return f" (write {BOOLEANS[value.lower()]})"
        if kinds & {int, float}:
            whole = float not in kinds
            written = as_number(value.strip(), whole) or as_list(value.strip(), whole)
            return f" ({written})" if written else ""
        if items:
            written = as_items(value.strip(), whole=int in scalars(items))
            return f" ({written})" if written else hint(items, value)
    if isinstance(value, dict) and len(value) == 1:  # {0..3} of a shell
        return hint(annotation, str(next(iter(value))))
    if isinstance(value, float) and value.is_integer() and int in scalars(annotation):
        return f" (write {int(value)})"
    return ""


def item_type(annotation: Any) -> Any:
    """The type of the items of a type that is a list or may be one; None for any other type."""
    if get_origin(annotation) is Annotated:
        return item_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next((item for option in get_args(annotation) if (item := item_type(option))), None)
    return get_args(annotation)[0] if get_origin(annotation) is tuple else None


def scalars(annotation: Any) -> set[type]:
    """The types of the numbers and texts that a type takes, without the items of lists."""
    if get_origin(annotation) is Annotated:
        return scalars(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*(scalars(option) for option in get_args(annotation)))
    return {annotation} if isinstance(annotation, type) else set()
