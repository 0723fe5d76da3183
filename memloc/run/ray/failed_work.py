"""What a coordinator records of work that has failed for good, and what it says of a process that Ray has lost."""

from __future__ import annotations

from contextlib import suppress

from ray.exceptions import RayError, RayTaskError

from memloc.errors import StoreError, error_line
from memloc.store import Store, records
from memloc.store.records import Failure


def record(store: Store, trial: str, part_id: str, stage: str, text: str, line: str) -> None:
    """Writes the failure of a part into the store, if it takes it; the event tells of it anyway."""
    failure = Failure(part_id, trial, stage, text, line)
    with suppress(StoreError):
        records.record_failure(store.files, failure)


def line_of(error: RayError) -> str:
    """The error in one line. What a task raised itself is told as that, without Ray's words about the process."""
    return error_line(error.cause if isinstance(error, RayTaskError) else error)
