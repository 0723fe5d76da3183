"""How a launch ends before its work does: by an order to stop, or because Ray itself is lost."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from memloc.commands.closing import Launched, lost
from memloc.interruption import interrupt

if TYPE_CHECKING:
    from memloc.commands.progress import Progress
    from memloc.run.pulse import Heartbeats


class Orders:
    """The orders of one launch. stopping: is set once there is one. heartbeats: of the launch, set before it begins."""

    heartbeats: Heartbeats

    def __init__(self, launched: Launched, progress: Progress) -> None:
        self.launched, self.progress = launched, progress
        self.stopping = threading.Event()
        self._at_once = False

    def by_signal(self) -> None:
        """The first order drains: running epochs and parts end, nothing new begins. A second one ends at once."""
        if self.stopping.is_set():
            self._at_once = True
            interrupt()
        self.stopping.set()
        self.heartbeats.stopping()
        self.progress.stopping()

    def is_at_once(self) -> bool:
        """Has a second order come?"""
        return self._at_once

    def through_the_store(self, host: str) -> None:
        """An order of `memloc stop` is a first order. host: where it was given."""
        if not self.stopping.is_set():
            self.launched.stopped_at = host
            self.stopping.set()
            self.progress.stopping(host)

    def end(self, what: str) -> None:
        """Ends the process, since Ray itself is lost and nothing can be waited for. what: is lost, as a sentence."""
        with suppress(Exception):  # the heartbeats that are left are stale in a minute
            self.progress.close()
            self.heartbeats.close()
        lost(what)
