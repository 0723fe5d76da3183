"""Files that a commit or a manifest lists, with their size and hash."""

from __future__ import annotations

from typing import Protocol

from memloc.errors import DamagedError
from memloc.invocation import command
from memloc.store import layout
from memloc.store.files import Files, TooLargeError

LARGEST = 1 << 34  # bytes of a file that a commit lists: it is held in memory


class Listed(Protocol):
    """A file with what was written down of it: bytes, and the hash of its content."""

    @property
    def path(self) -> str:
        """Where it lies."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""


class ListedTable(Listed, Protocol):
    """The same of a Parquet file."""

    @property
    def footer(self) -> str:
        """The sha256 of its footer; "" if it was not written down."""


def look_at(files: Files, entry: Listed) -> tuple[bytes | None, str | None]:
    """(the content of a committed file, None) or (None, what is wrong with it). Of one that has grown nothing is read."""
    if entry.size > LARGEST:
        return None, f"was committed with {entry.size} bytes; {LARGEST} at most are read"
    try:
        content = files.patience.settled(lambda: files.find(entry.path, entry.size))
    except TooLargeError as error:
        return None, f"has {error.size} bytes, was committed with {entry.size}"
    if content is None:
        return None, "is missing"
    if len(content) != entry.size:
        return None, f"has {len(content)} bytes, was committed with {entry.size}"
    return (content, None) if layout.sha256(content) == entry.sha256 else (None, "was changed since it was committed")


def read_entry(files: Files, entry: Listed) -> bytes:
    """A committed file, its hash checked.

    Raises:
        DamagedError: where it is not what was committed.
    """
    content, wrong = look_at(files, entry)
    if content is None:
        raise damaged(files, entry.path, wrong)
    return content


def damaged(files: Files, path: str, wrong: str | None) -> DamagedError:
    """The error for a file that is not as committed. wrong: what `problem` says about it."""
    remedy = f"run {command('store verify', files.uri)}, then the sweep again"
    return DamagedError(f"store {files.uri}: {path} {wrong}", path, remedy)
