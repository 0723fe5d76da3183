"""The orders to stop that reach a process: Ctrl-C, a batch system's SIGTERM, a closed terminal's SIGHUP.

It imports nothing heavy: it must be there before anything else is imported.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

ORDERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def terminals() -> tuple[int, ...]:
    """Which of the standard streams' descriptors are terminals. One that is gone no longer says that it was one."""
    return tuple(descriptor for descriptor in (0, 1, 2) if os.isatty(descriptor))


def discard(descriptors: Iterable[int]) -> None:
    """All further output to these descriptors is discarded."""
    for descriptor in descriptors:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


@contextmanager
def on_orders(action: Callable[[], None]) -> Iterator[None]:
    """Every order calls the action, in the main thread.

    A signal that is already ignored, as under `nohup`, stays ignored. If the terminal is closed, what is printed from then
    on is discarded, because it could not be printed. Afterwards every signal does again what it did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    open_now = terminals()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            discard(open_now)
        action()

    before = {number: signal.getsignal(number) for number in ORDERS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """What Ctrl-C does in Python: it ends what is going on, with a KeyboardInterrupt."""
    raise KeyboardInterrupt
