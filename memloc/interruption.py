"""The orders to stop that reach a process: Ctrl-C, a batch system's SIGTERM, a closed terminal's SIGHUP.

It imports nothing heavy: it must be there before anything else is imported.
"""

from __future__ import annotations

import os
import signal
import sys
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


class _Orders:
    """The orders of this process. handlers: how many `on_orders` are entered. ended: what went on was ended by one.
    last: the signal of that one.
    """

    handlers = 0
    ended = False
    last: int = signal.SIGINT


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
        try:
            action()
        except KeyboardInterrupt:
            _Orders.ended, _Orders.last = True, number
            raise

    before = {number: signal.getsignal(number) for number in ORDERS}
    _Orders.handlers += 1
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, on_signal)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _Orders.handlers -= 1
        _Orders.ended = _Orders.ended and _Orders.handlers > 0


def interrupt() -> None:
    """What Ctrl-C does in Python: it ends what is going on, with a KeyboardInterrupt."""
    raise KeyboardInterrupt


@contextmanager
def whole_orders(*ends: type[Exception]) -> Iterator[None]:
    """An order that ends what is going on does so with a KeyboardInterrupt, whatever has become of it on the way.

    A handler may run within foreign code, which drops what it raises and raises an error of its own. DuckDB does so in a
    query, and an extension module while it is imported. ends: errors that say how the program ends. They stay as they are.
    """
    try:
        yield
    except Exception as error:
        if _Orders.ended and not isinstance(error, ends):
            raise KeyboardInterrupt from None
        raise


@contextmanager
def kept_orders() -> Iterator[None]:
    """An order that ends what is going on also does so while Python frees objects.

    What a handler raises in a finalizer or in a weak reference's callback is dropped there. Python only prints "Exception
    ignored in". Here the signal comes once more instead.
    """
    before, timers = sys.unraisablehook, list[threading.Timer]()

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            # A little later, since an exception in this hook is dropped too.
            later = threading.Timer(0.02, os.kill, (os.getpid(), _Orders.last))
            later.daemon = True
            timers.append(later)
            later.start()
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:  # nothing is left that it could end
            timer.cancel()
