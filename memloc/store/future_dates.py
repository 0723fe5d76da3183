"""Dates that lie in the future of the storage's own clock, as they do after a server's clock was set back.

A living run renews its leases and its heartbeats. From the date of such a file one learns how old it is, but not if the date
has yet to come. Then a process watches whether the file changes, by its own clock alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from memloc.store.files import Files

AHEAD_SECONDS = 5.0  # storages round dates, and the servers of one storage differ a little
WATCH_SECONDS = 25.0  # a living run renews its files about every 10 s
LOOK_SECONDS = 2.0


def is_ahead(written: float, now: float) -> bool:
    """Does a date lie in the future? written, now: seconds since 1970, both by the clock of the storage."""
    return written - now > AHEAD_SECONDS


class Watch:
    """For how long this process has seen files as they are. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}  # {path: (its date, when it was first seen with this date)}

    def seconds(self, path: str, written: float) -> float:
        """For how many seconds a file has had this date; 0 when it is seen for the first time."""
        now = self._clock()
        date, since = self._seen.get(path, (written, now))
        self._seen[path] = (written, since if date == written else now)
        return now - self._seen[path][1]


def renewed(files: Files, folders: Sequence[str], dates: Mapping[str, float]) -> set[str]:
    """Those of these files of the folders that are written anew while they are watched, for WATCH_SECONDS at most."""
    found: set[str] = set()
    left, until = dict(dates), time.monotonic() + WATCH_SECONDS
    while left and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
        now = {path: date for folder in folders for path, date in files.dates(folder).items()}
        found |= {path for path, date in left.items() if now.get(path, date) != date}
        left = {path: date for path, date in left.items() if now.get(path) == date}
    return found
