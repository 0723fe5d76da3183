"""Reads Parquet files of a store by columns and row groups. The footer is checked by its hash, pages by their checksums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from memloc.errors import StorageError, error_line
from memloc.store import entries, footers
from memloc.store.entries import ListedTable
from memloc.store.files import Files

T = TypeVar("T")

# What Arrow raises where a file cannot be read, or is no Parquet file; the last one where a name in it is no text.
FAULTS = (OSError, pa.ArrowException, UnicodeDecodeError)


class ChangedError(ValueError):
    """A file is not what was written down of it. The text is the rest of a sentence that begins with its path."""


def read(files: Files, entry: ListedTable, action: Callable[[Any], T], repeated: Sequence[str] = ()) -> T:
    """What `action` makes of an open pyarrow.parquet.ParquetFile.

    repeated: columns of texts that come again and again, which are read as dictionaries.

    Raises:
        ChangedError: the file is gone, or is not what was written down of it.
        StorageError: it could not be read, and is what was written down of it.
    """
    if wrong := footers.problem(files, entry):
        raise ChangedError(wrong)
    return files.patience(lambda: _read(files, entry, action, repeated))


def _read(files: Files, entry: ListedTable, action: Callable[[Any], T], repeated: Sequence[str]) -> T:
    try:
        with files.dataset_filesystem().open_input_file(files.full(entry.path)) as source:
            return action(_opened(source, repeated))
    except FAULTS as error:
        content, wrong = entries.look_at(files, entry)
        wrong = wrong or no_parquet(lambda: action(_opened(pa.BufferReader(content), repeated)))
        if wrong:
            raise ChangedError(wrong) from None
        raise StorageError(
            f"store {files.uri}: {entry.path} cannot be read: {error_line(error, with_type=False)}"
        ) from error


def no_parquet(read: Callable[[], object]) -> str | None:
    """What is wrong with bytes whose hash is right, where they cannot be read as Parquet; None where they can.

    Whoever has written them may have committed anything, so the storage is not to blame. read: reads them, from memory.
    """
    try:
        read()
    except FAULTS as error:
        return f"was committed so, and is no Parquet file that can be read ({error_line(error, with_type=False)})"
    return None


def _opened(source: Any, repeated: Sequence[str]) -> Any:
    try:
        return pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=list(repeated))
    except KeyError:  # it has no such column
        raise ChangedError("has other columns") from None
