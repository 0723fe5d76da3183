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
    except (OSError, pa.ArrowException) as error:
        if wrong := entries.look_at(files, entry)[1]:
            raise ChangedError(wrong) from None
        raise StorageError(
            f"store {files.uri}: {entry.path} cannot be read: {error_line(error, with_type=False)}"
        ) from error


def _opened(source: Any, repeated: Sequence[str]) -> Any:
    try:
        return pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=list(repeated))
    except KeyError:  # it has no such column
        raise ChangedError("has other columns") from None
