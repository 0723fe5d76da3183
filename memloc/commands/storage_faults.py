"""What a launch says while its processes wait for the storage."""

from __future__ import annotations

import time

from memloc.commands.formatting import clock_in_words, duration_in_words


class StorageFaults:
    """The trials that wait for the storage, in words."""

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}  # by trial
        self._since = 0.0

    @property
    def waiting(self) -> str:
        """`waiting for storage since 14:03`, or nothing."""
        return f"waiting for storage since {clock_in_words(self._since)}" if self._faults else ""

    def news(self, trial: str, fault: str) -> str:
        """A line where the waiting begins or ends, else nothing. fault: of this trial; "" if the trial waits no more."""
        before = bool(self._faults)
        if fault:
            self._faults[trial] = fault
        else:
            self._faults.pop(trial, None)
        if before == bool(self._faults):
            return ""
        if before:
            return f"the storage works again, after {duration_in_words(time.time() - self._since)}"
        self._since = time.time()
        return f"{self.waiting}: {fault}"
