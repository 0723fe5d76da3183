"""Labels as people have them, as one value per example that can be compared: a whole number or a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

BEYOND = "labels are beyond 64 bits; must be whole numbers or text"
Values: TypeAlias = npt.NDArray[Any]  # int64 or text [N]


class LabelError(ValueError):
    """What is wrong with labels, in a phrase."""


def label_values(labels: Any, n: int) -> tuple[Values, str]:
    """(int64 or text [n], what was converted in a phrase, or "").

    Takes whole numbers, numbers that are whole, booleans, text, bytes of UTF-8; one per example, in a column, or one-hot.

    Args:
        labels: an array or a sequence.
        n: how many examples there are.

    Raises:
        LabelError: there is another number of labels, or one of them is none of these.
    """
    array = labels if isinstance(labels, np.ndarray) else _array(labels)
    said = ""
    if array.ndim == 2 and array.shape == (n, 1):
        array, said = array[:, 0], "a column of labels is flattened"
    elif array.ndim == 2 and len(array) == n and _is_one_hot(array):
        array, said = array.argmax(axis=1), "one-hot labels become numbers"
    if array.shape != (n,):
        raise LabelError(f"labels have shape {array.shape}; must be ({n},), one per image")
    values, of_type = _by_type(array)
    return values, said or of_type


def _array(labels: Sequence[Any]) -> npt.NDArray[Any]:
    """Of a list with gaps or of several types an array of objects."""
    if not len(labels):
        return np.zeros(0, dtype=np.int64)
    kinds = {type(v) for v in labels}
    if len(kinds) == 1 and kinds <= {int, float, bool, str}:
        return np.array(labels)
    array = np.empty(len(labels), dtype=object)
    array[:] = list(labels)
    return array


def _is_one_hot(array: npt.NDArray[Any]) -> bool:
    if array.dtype.kind not in "biuf" or array.shape[1] < 2:
        return False
    return bool(np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all())


def _by_type(array: npt.NDArray[Any]) -> tuple[Values, str]:
    kind = array.dtype.kind
    if kind in "iu":
        if kind == "u" and len(array) and int(array.max()) >= 2**63:
            raise LabelError(BEYOND)
        return array.astype(np.int64), ""
    if kind == "b":
        return array.astype(np.int64), "labels true and false become 1 and 0"
    if kind == "f":
        return _whole(array)
    if kind == "U":
        return _named(array)
    if kind == "S":
        return _named(np.array([_text(v, i) for i, v in enumerate(array.tolist())]))
    if kind == "O":
        values = [_plain(v, i) for i, v in enumerate(array.tolist())]
        text, number = (next((v for v in values if isinstance(v, str) is kind), None) for kind in (True, False))
        if text is not None and number is not None:
            raise LabelError(f"some labels are numbers and some are text ({number}, {str(text)!r}); must be of one kind")
        plain = np.array(values)
        if plain.dtype.kind == "O":
            raise LabelError(BEYOND)
        return _by_type(plain)
    raise LabelError(f"labels are {array.dtype}; must be whole numbers or text")


def _whole(array: npt.NDArray[Any]) -> tuple[Values, str]:
    numbers = array.astype(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2.0**53))
    if wrong.any():
        bad = int(np.argmax(wrong))
        raise LabelError(f"label {array[bad]} of example {bad} is no whole number; must be whole numbers or text")
    return array.astype(np.int64), f"{array.dtype} labels, all whole, become whole numbers"


def _named(array: npt.NDArray[Any]) -> tuple[Values, str]:
    """(text without blanks around it, which classes that makes one, or ""). An empty one is no label."""
    stripped = np.char.strip(array)
    if (stripped == "").any():
        raise LabelError(f"example {int(np.argmax(stripped == ''))} has no label; give it one, or leave it out of the data")
    spelled, names = np.unique(array), set(np.unique(stripped).tolist())
    joined = [v for v in spelled.tolist() if v != v.strip() and len(spelled) > len(names)]
    return stripped, f"blanks around labels are left out: {joined[0]!r} is {joined[0].strip()!r}" if joined else ""


def _plain(value: Any, i: int) -> Any:
    if value is None or (isinstance(value, float | np.floating) and value != value):  # None, NaN
        raise LabelError(f"example {i} has no label; give it one, or leave it out of the data")
    if isinstance(value, bytes):
        return _text(value, i)
    if isinstance(value, str | int | float | np.generic):
        return value
    raise LabelError(f"the label of example {i} is of type {type(value).__name__}; must be whole numbers or text")


def _text(value: bytes, i: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise LabelError(f"the label of example {i} is not UTF-8: {value[:20]!r}") from None


def in_order(values: Values) -> list[Any]:
    """The different values in order: numbers by size, also where they are text; other text by its characters."""
    different: list[Any] = np.unique(values).tolist()
    if all(isinstance(v, str) and v.isascii() and v.isdigit() for v in different):
        return sorted(different, key=_size)
    return different


def _size(digits: str) -> tuple[int, str, str]:
    """What orders digits by the number that they are, however many there are."""
    number = digits.lstrip("0")
    return len(number), number, digits
