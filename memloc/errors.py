"""The kinds of error that a user can mend. Any other exception is a bug and keeps its traceback."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

# `//user:password@`, also with one slash or none behind a scheme. A password may have any character but blanks.
# `//host:9000/` and `///folder` have none.
_SCHEMES = "s3[an]?|gs|gcs|hdfs|webhdfs|file|ftp|https?|rediss?"
_PASSWORD = re.compile(rf"((?<!/)//(?!/)|\b(?:{_SCHEMES}):/?)[^\s/:@]*(?::|%3a)(?!\d+/)\S*@", re.IGNORECASE)
SECRET_OPTION = re.compile(r"secret|token|passw|credential|access_?key|api_?key|signature|\bsig\b", re.IGNORECASE)
_OPTION = re.compile(rf"([?&;][^=&\s]*(?:{SECRET_OPTION.pattern})[^=&\s]*=)[^&\s'\"`]*", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with `…` in place of what a URI in it has for a password, a key or a token."""
    return _OPTION.sub(r"\1…", _PASSWORD.sub(r"\1…@", text))


class MemlocError(Exception):
    """One problem per line, each saying what is wrong, where, and what would be right."""

    exit_code = 1

    def __init__(self, *problems: str) -> None:
        problems = tuple(map(without_secrets, problems))
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems

    def __reduce__(self) -> tuple[type[MemlocError], tuple[str, ...]]:
        return type(self), tuple(self.problems)  # keeps the lines apart when Ray carries the error


class UsageError(MemlocError):
    """Bad arguments, sweep file, data or SQL."""

    exit_code = 2


class StoreError(MemlocError):
    """The store cannot be opened, read or written, or holds something broken."""

    exit_code = 3


class StorageError(StoreError):
    """The file system or the object store fails: it cannot be reached, it is full, it may not be written. It may recover."""


class DamagedError(StoreError):
    """A committed file is missing, or is not what was committed. path: the file, within the store. remedy: what to do."""

    def __init__(self, problem: str, path: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem, self.path, self.remedy = without_secrets(problem), path, remedy

    def __reduce__(self) -> tuple[type[DamagedError], tuple[str, ...]]:
        return type(self), (self.problem, self.path, self.remedy)


class MiscommittedError(DamagedError):
    """The commit of a training lists a file as a checkpoint that is none, with its right hash. path: this file."""


class RayLostError(MemlocError):
    """Ray has ended, or did not come up. Nothing is wrong with the work: the same command goes on, and a service may repeat
    it by itself.
    """

    exit_code = 4


class DeviceError(MemlocError):
    """The device has failed, so this process can compute nothing on it any more. Another process may."""


class OtherKindError(MemlocError):
    """The same bits are wanted as on another kind of device. kind: its name."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"this was begun on {kind}, and reaches the same bits there alone")
        self.kind = kind

    def __reduce__(self) -> tuple[type[OtherKindError], tuple[str, ...]]:
        return type(self), (self.kind,)


class OutputError(MemlocError):
    """Standard output cannot be written. What was computed is in the store nevertheless."""


class ReplayError(MemlocError):
    """A training run again did not reproduce the checkpoints that its commit recorded."""


def setting(field: str, value: str) -> str:
    """How one gives a field a value, on a command line and in a sweep file: both may be where a message is read."""
    return f"{field}={value} (in a file {field}: {value})"


def wrong_type(name: str, value: Any, valid: str) -> UsageError:
    """The error for an argument of a wrong type: `epoch: '3' is of type str; valid: a whole number`."""
    shown = repr(value)
    return UsageError(
        f"{name}: {shown if len(shown) <= 80 else shown[:79] + '…'} is of type {type(value).__name__}; valid: {valid}"
    )


def check_path(name: str, value: Any) -> None:
    """Raises UsageError unless the value is a path or None."""
    if value is not None and not (isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)):
        raise wrong_type(name, value, "text, a pathlib.Path, or None")


class MemlocWarning(UserWarning):
    """Something was left out; the text says what and why. The command line prints it as one line."""


def error_line(error: BaseException, with_type: bool = True) -> str:
    """An exception in one line: its type and the first line of what it says.

    with_type: False leaves the type out, unless the exception says nothing.
    """
    kind, lines = type(error).__name__, str(error).strip().splitlines()
    if not lines:
        return kind
    first = without_secrets(lines[0])
    return f"{kind}: {first}" if with_type else first


def nearest(word: str, valid: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no valid word is close. `CIFAR-10` is close to `cifar10`."""
    plain = {_plain(name): name for name in valid}
    close = [_plain(word)] if _plain(word) in plain else get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return f" (did you mean {plain[close[0]]!r}?)" if close else ""


def _plain(word: str) -> str:
    """A word in lower case, without `-`, `_` and blanks: people write these in different ways."""
    return "".join(character for character in word.lower() if character not in "-_ ")
