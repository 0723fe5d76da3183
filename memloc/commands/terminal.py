"""Output to terminals and pipes that cannot show everything, or that are gone. It never raises an error."""

from __future__ import annotations

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from memloc.errors import OutputError, UsageError, without_secrets
from memloc.interruption import discard

if TYPE_CHECKING:
    from rich.console import Console

ASCII = {"…": "...", "·": "-", "–": "-", "—": "-", "−": "-", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "→": "->",
         "’": "'", "‘": "'", "“": '"', "”": '"', "━": "-", "╸": "-", "╺": "-"}  # fmt: skip


def _stand_in(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler for `encode`: plain ASCII that means the same, else an escape such as \\xfc."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(ASCII.get(c) or c.encode("ascii", "backslashreplace").decode("ascii") for c in lost), error.end


# Control characters but for the end of a line and the tab. Also those that change the direction of text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text with control characters as escapes such as `\\x1b`.

    What stands in a store may have been written by anybody. A terminal must show it, and not do what it says.
    """
    return _CONTROL.sub(lambda match: match[0].encode("ascii", "backslashreplace").decode() if match[0] > "\xff"
                        else f"\\x{ord(match[0]):02x}", text)  # fmt: skip


class Messages:
    """Standard error as a stream that outlives its reader: a sweep must not end because nobody reads its messages.

    Whatever is written here leaves the program, be it a message of a library or what the user has typed. So the secrets of
    URIs are taken out here.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text, or drops it where nobody reads it any more. Returns the number of characters."""
        try:
            self._stream.write(without_secrets(text))
        except OSError:
            discard([2])
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes texts one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Writes what is buffered, if somebody still reads."""
        try:
            self._stream.flush()
        except OSError:
            discard([2])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Output:
    """Standard output as a stream whose failure is one line. A reader that has left is still a BrokenPipeError."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def buffer(self) -> Output:
        """The same stream for bytes."""
        return Output(self._stream.buffer)

    def write(self, content: Any) -> int:
        """Writes text, or bytes on `buffer`. Raises OutputError if that fails. Returns the length of what was written."""
        with self._one_line():
            return int(self._stream.write(content))

    def flush(self) -> None:
        """Writes what is buffered. Raises OutputError if that fails."""
        with self._one_line():
            self._stream.flush()

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            discard([self._stream.fileno()])  # what is left in the buffer would fail again at the end
            raise OutputError(f"standard output cannot be written: {error.strerror}") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def check_output() -> None:
    """Raises UsageError if standard output is closed: the next file that is opened would take its place."""
    if sys.stdout is None:
        raise UsageError("standard output is closed (>&-); write > /dev/null if nobody reads it")


def show_anything() -> None:
    """Makes standard output and standard error accept every text. Messages may go unread; lost output is one line."""
    if sys.stderr is None:  # closed: the next file that is opened would take its place, and messages would go to output
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (for as long as the program runs)
    codecs.register_error("memloc", _stand_in)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # replaced by something else, or closed
            stream.reconfigure(errors="memloc")  # type: ignore[union-attr]
    if sys.stderr is not None and not isinstance(sys.stderr, Messages):
        sys.stderr = Messages(sys.stderr)
    if sys.stdout is not None and not isinstance(sys.stdout, Output):
        sys.stdout = Output(sys.stdout)


def working_directory() -> str:
    """The working directory; raises UsageError if it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        raise UsageError("the working directory does not exist any more; change to another one") from None


def check_names() -> None:
    """Raises UsageError if an argument or a path in the environment is no UTF-8 name, as stores write names.

    In a shell with another encoding, one name would mean different files to Python and to Arrow.
    """
    encoding = sys.getfilesystemencoding()
    inherited = {name: os.environ.get(name, "") for name in ("MEMLOC_STORE", "MEMLOC_DATA", "MEMLOC_LOGS")}
    named = [(value, "argument") for value in sys.argv[1:]] + [(value, name) for name, value in inherited.items()]
    named.append((working_directory(), "the working directory"))
    for value, what in named:
        broken = any("\ud800" <= c <= "\udfff" for c in value)  # how Python keeps bytes that it cannot decode
        if broken or (not value.isascii() and encoding != "utf-8"):
            why = "its bytes are not UTF-8" if encoding == "utf-8" else f"this shell's encoding is {encoding}"
            raise UsageError(f"{what} {value!r}: {why}; use PYTHONUTF8=1 or LC_ALL=C.UTF-8, and names in UTF-8")


def can_redraw(console: Console) -> bool:
    """Is the console a terminal whose lines can be written over? FORCE_COLOR makes rich call a pipe a terminal."""
    return console.file.isatty() and console.is_terminal and not console.is_dumb_terminal


def reader_left(descriptors: Iterable[int]) -> None:
    """The reader of standard output, which has these, has left (`| head`): nothing more is written, also not at the end."""
    discard(descriptors)
