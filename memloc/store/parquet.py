"""Reads Parquet files of a store by columns and row groups. The footer is checked by its hash, pages by their checksums."""

from __future__ import annotations

from collections.abc import Callable
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


def read(files: Files, entry: ListedTable, action: Callable[[Any], T]) -> T:
    """What `action` makes of an open pyarrow.parquet.ParquetFile.

    Raises:
        ChangedError: the file is gone, or is not what was written down of it.
        StorageError: it could not be read, and is what was written down of it.
    """
    if wrong := footers.problem(files, entry):
        raise ChangedError(wrong)
    return files.patience(lambda: _read(files, entry, action))


def _read(files: Files, entry: ListedTable, action: Callable[[Any], T]) -> T:
    try:
        with files.dataset_filesystem().open_input_file(files.full(entry.path)) as source:
            return action(pq.ParquetFile(source, page_checksum_verification=True))
    except (OSError, pa.ArrowException) as error:
        if wrong := entries.look_at(files, entry)[1]:
            raise ChangedError(wrong) from None
        raise StorageError(
            f"store {files.uri}: {entry.path} cannot be read: {error_line(error, with_type=False)}"
        ) from error
