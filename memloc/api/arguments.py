"""Checks of what a notebook passes: a value of a wrong type is one line, and not an error from deep inside."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from memloc.errors import UsageError, wrong_type


def check_text(name: str, value: Any, valid: str) -> None:
    """Raises UsageError unless the value is text that is not empty. valid: what to write."""
    if not isinstance(value, str):
        raise wrong_type(name, value, valid)
    if not value.strip():
        raise UsageError(f"{name}: is empty; valid: {valid}")


def absolute_folder(folder: str | os.PathLike[str] | None) -> str | None:
    """The name of the same folder from any working directory."""
    return None if folder is None else str(Path(folder).expanduser().absolute())


def check_sweep(sweep: Any, partial: Any = False) -> None:
    """Raises UsageError unless `sweep` is text or None, and `partial` is True or False."""
    if sweep is not None:
        check_text("sweep", sweep, "a sweep's name, NAME@sha8, or None for the whole store")
    if not isinstance(partial, bool):
        raise wrong_type("partial", partial, "True or False")


def whole_number(name: str, value: Any, valid: str) -> int:
    """The value as an int, also one of NumPy or torch.

    Raises:
        UsageError: where it is no single whole number. True and False are none.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise wrong_type(name, value, valid) from None


def wanted_values(name: str, value: Any) -> list[Any]:
    """What a filter asks for as plain Python values, also from a NumPy array or a pandas Series.

    Args:
        name: the field.
        value: one value, or a collection or an iterator of values.

    Raises:
        UsageError: for a mapping, which is neither.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping):
        raise wrong_type(name, value, "a value, or a list of values")
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [one.tolist() if hasattr(one, "tolist") else one for one in value]
    return [value]
