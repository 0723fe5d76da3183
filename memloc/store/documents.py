"""JSON files of a store. They are checked before they are used: anybody who can write to the store may have made them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, TypeVar

import numpy as np
import pydantic_core
from pydantic import Field, TypeAdapter, ValidationError

from memloc.store import layout
from memloc.store.files import Files

T = TypeVar("T")

DEEPEST = 40  # values within values; a configuration has three
LARGEST = 1 << 28  # bytes of a file. The record of a hundred thousand trainings has a third of that
LIMIT = 2**63  # no whole number reaches it
CHUNK, LONGEST = 1 << 20, 32  # bytes that are looked at together, and those that a number can take
LARGE = 1 << 12  # bytes from which on a look at the bytes is quicker than one at every value
_STEP = np.zeros(256, dtype=np.int8)  # by byte: how much deeper what follows it is
_STEP[[ord("["), ord("{")]], _STEP[[ord("]"), ord("}")]] = 1, -1
_ODD = re.compile(rb"NaN|Infinity|[0-9]{18}|[eE][+-]?[0-9]{3}")  # perhaps a number that no column can hold

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
    """The JSON that the bytes hold, with every field, once they are of the adapter's type; errors as `checked`.

    adapter: of types whose values are dictionaries (`TypedDict`) that keep fields that they do not name.
    """
    value = checked(adapter, content)
    if not is_plain(content):
        parse(content)
    return value


def parse(content: bytes, plain: bool = True) -> Any:
    """The value that the bytes hold. It is not too deep for a recursion.

    plain: refuses numbers that no column can hold: NaN, infinities and very large ones.

    Raises:
        ValueError: one phrase on what is wrong.
    """
    value = pydantic_core.from_json(content, allow_inf_nan=not plain)
    if not is_plain(content):
        check(value, plain)
    return value


def is_plain(content: bytes) -> bool:
    """Whether `check` has nothing to say of JSON, as far as a quick look at the bytes of a large document tells."""
    if len(content) < LARGE or b"\\" in content:
        return False
    depth, quotes, before = 0, 0, b""
    for start in range(0, len(content), CHUNK):
        letters = np.frombuffer(content, np.uint8, min(CHUNK, len(content) - start), start)
        inside = (quotes + np.cumsum(letters == ord('"'), dtype=np.int32)) % 2 == 1
        without_texts = np.where(inside, np.uint8(ord(" ")), letters)
        depths = depth + np.cumsum(_STEP[without_texts], dtype=np.int32)
        numbers = before + without_texts.tobytes()
        if depths.max() > DEEPEST or _ODD.search(numbers):
            return False
        depth, quotes, before = int(depths[-1]), int(inside[-1]), numbers[-LONGEST:]  # a number may lie in two chunks
    return True


def check(value: Any, plain: bool = True, depth: int = 0) -> None:
    """Raises ValueError where JSON is nested too deeply or, if it must be plain, has a number that no column can hold."""
    if isinstance(value, dict | list):
        if depth == DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} deep")
        for inner in value.values() if isinstance(value, dict) else value:
            kind = type(inner)  # a large document has a million values, and hardly any needs a closer look
            if not (kind is str or inner is None or kind is bool or (kind is int and -LIMIT < inner < LIMIT)):
                check(inner, plain, depth + 1)
    elif plain and isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it has a number that is not finite")
    elif plain and isinstance(value, int) and not -LIMIT < value < LIMIT:
        raise ValueError("it has a number that is too large")
