"""Columns of Arrow as arrays of numpy. Ids are numbers here, which sort as their texts do.

pyarrow's own `to_numpy` and `pa.array` import pandas: half a second and 50 MB, in commands that need neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

_DIGIT = np.full(256, 255, dtype=np.uint8)  # by byte: the value of a hexadecimal digit
_DIGIT[[ord(digit) for digit in "0123456789abcdef"]] = np.arange(16)


def plain(column: Any) -> Any:
    """The values of an array of numbers without NULL."""
    return np.from_dlpack(_one(column))


def lengths(column: Any) -> Ints:
    """int64 [n]: the lengths of lists, none of them NULL."""
    counts: Ints = plain(pc.cast(pc.list_value_length(_one(column)), "int64"))
    return counts


def nulls(column: Any) -> Bools:
    """bool [n]: which values are NULL."""
    missing: Bools = np.from_dlpack(pc.cast(pc.is_null(_one(column)), "uint8")).astype(bool)
    return missing


def hexadecimal(column: Any, digits: int, or_none: bool = False) -> Bytes:
    """uint8 [n, digits / 2]: the bytes that texts of so many hexadecimal digits mean, none of them NULL.

    or_none: a text may be empty, which means zeros.

    Raises:
        ValueError: with the first text that is something else.
    """
    texts = _one(column)
    if not len(texts):
        return np.zeros((0, digits // 2), dtype=np.uint8)
    _, offsets, letters = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    there = np.diff(ends) > 0 if or_none else np.ones(len(texts), dtype=bool)
    unlike = there & (np.diff(ends) != digits)
    if not unlike.any():
        values = _DIGIT[np.frombuffer(letters, np.uint8)[ends[0] : ends[-1]]].reshape(-1, digits)
        unlike[there] = (values == 255).any(axis=1)
        if not unlike.any():
            meant = np.zeros((len(texts), digits // 2), dtype=np.uint8)
            meant[there] = values[:, ::2] << 4 | values[:, 1::2]
            return meant
    raise ValueError(texts[int(unlike.argmax())].as_py())


def ids(column: Any) -> Numbers:
    """uint64 [n]: ids as numbers; ValueError as `hexadecimal`."""
    return hexadecimal(column, 16).view(">u8").ravel().astype(np.uint64)


def number_of(part_id: str) -> int:
    """An id as a number."""
    return int(part_id, 16)


def numbers_of(given: Iterable[str]) -> Numbers:
    """uint64 [n]: ids as numbers."""
    return np.array([number_of(part_id) for part_id in given], dtype=np.uint64)


def texts_of(numbers: Numbers) -> list[str]:
    """The ids that numbers mean; equal ones are one object."""
    known: dict[int, str] = {}
    return [known.get(number) or known.setdefault(number, f"{number:016x}") for number in numbers.tolist()]


def taken(values: Sequence[Any], places: Any) -> list[Any]:
    """The values at these places."""
    return [values[place] for place in places.tolist()]


def cut(values: Sequence[Any], counts: Ints) -> list[tuple[Any, ...]]:
    """The values in runs of these lengths."""
    ends = np.cumsum(counts).tolist()
    return [tuple(values[end - count : end]) for end, count in zip(ends, counts.tolist(), strict=True)]


class Texts:
    """Texts that come again and again: each once, with a number."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self._number: dict[str, int] = {}

    def numbers(self, column: Any) -> npt.NDArray[np.int32]:
        """int32 [n]: the numbers of the texts of a column without NULL. New texts are added."""
        coded = _one(column)
        if not pa.types.is_dictionary(coded.type):
            coded = coded.dictionary_encode()
        own = [self.number(text) for text in coded.dictionary.to_pylist()]
        numbers: npt.NDArray[np.int32] = np.array(own, dtype=np.int32)[np.from_dlpack(coded.indices)]
        return numbers

    def number(self, text: str) -> int:
        """The number of a text."""
        number = self._number.setdefault(text, len(self.known))
        if number == len(self.known):
            self.known.append(text)
        return number


@dataclass(frozen=True)
class Words:
    """The texts of many commits. names: stages, tables and schemas. json: parts, configurations, places of computation."""

    names: Texts = field(default_factory=Texts)
    json: Texts = field(default_factory=Texts)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
