"""JSON files of a store. They are checked before they are used: anybody who can write to the store may have made them."""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeVar

import pydantic_core
from pydantic import Field, TypeAdapter, ValidationError

from memloc.store import layout
from memloc.store.files import Files

T = TypeVar("T")

DEEPEST = 40  # values within values; a configuration has three
LARGEST = 1 << 28  # bytes of a file. The record of a hundred thousand trainings has a third of that
LIMIT = 2**63  # no whole number reaches it

Id = Annotated[str, Field(pattern=f"^{layout.ID}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
NAME = "[A-Za-z_][A-Za-z0-9_.:-]{0,99}"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Count = Annotated[int, Field(ge=0, lt=LIMIT)]
Seconds = Annotated[float, Field(gt=-LIMIT, lt=LIMIT, allow_inf_nan=False)]


def find(files: Files, path: str, odd: dict[str, str]) -> bytes | None:
    """The bytes of a file; None where there is none, or where it is too large: `odd` gets that path then."""
    try:
        return files.find(path, LARGEST)
    except ValueError as error:
        odd[path] = str(error)
        return None


def checked(adapter: TypeAdapter[T], content: bytes) -> T:
    """The value that the bytes hold, of the adapter's type. Fields that the type does not have are left out.

    What the type leaves open is not checked: see `check`.

    Raises:
        ValueError: one phrase on the first thing that is wrong.
    """
    try:
        return adapter.validate_json(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None


def as_written(adapter: TypeAdapter[Any], content: bytes) -> Any:
    """The JSON that the bytes hold, with every field, once they are of the adapter's type; errors as `checked`."""
    checked(adapter, content)
    return parse(content)


def parse(content: bytes, plain: bool = True) -> Any:
    """The value that the bytes hold. It is not too deep for a recursion.

    plain: refuses numbers that no column can hold: NaN, infinities and very large ones.

    Raises:
        ValueError: one phrase on what is wrong.
    """
    value = pydantic_core.from_json(content, allow_inf_nan=not plain)
    check(value, plain)
    return value


def check(value: Any, plain: bool = True, depth: int = 0) -> None:
    """Raises ValueError where JSON is nested too deeply or, if it must be plain, has a number that no column can hold."""
    if isinstance(value, dict | list):
        if depth == DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        for inner in value.values() if isinstance(value, dict) else value:
            if type(inner) is not str:
                check(inner, plain, depth + 1)
    elif plain and isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it has a number that is not finite")
    elif plain and isinstance(value, int) and not -LIMIT < value < LIMIT:
        raise ValueError("it has a number that is too large")
