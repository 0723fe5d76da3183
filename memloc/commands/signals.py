"""The orders to stop that reach a process: Ctrl-C, a batch system's SIGTERM, a closed terminal's SIGHUP."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from memloc.commands.terminal import hang_up, terminals

ORDERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(notice: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """The first order drains: running epochs and parts end, nothing new begins. A second one ends at once.

    Its value is a function that says whether an order came. A signal that is already ignored, as under `nohup`, stays
    ignored. Afterwards every signal does again what it did before.
    """
    came: list[int] = []
    open_now = terminals()

    def on_signal(number: int, frame: Any) -> None:
        if number == signal.SIGHUP:
            hang_up(open_now)
        if came:
            raise KeyboardInterrupt
        came.append(number)
        notice("interrupted: finishing the epochs and parts that are running (press Ctrl-C again to stop at once)")

    before = {number: signal.getsignal(number) for number in ORDERS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
