"""How work waits for a storage that fails, and goes on when it is back.

A sweep of two weeks meets full disks, servers that restart and networks that break. Such a fault costs the time it lasts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from memloc.errors import StorageError

A = TypeVar("A")
T = TypeVar("T")
P = ParamSpec("P")

LONGEST_WAIT = 15.0  # seconds between two tries: a fault costs at most so much more than it lasts
FIRST_WAIT = 0.5  # before the second try at most; this bound doubles with every try
SETTLE_SECONDS = 10.0  # how long an object store, or the cache of a network disk, may deny what was just written

LONGEST_TRY = 300.0  # about: a server that hangs keeps one request for 110 to 150 s, and a try is two of them at most
LOOK_SECONDS = 0.2  # between two looks, while it waits, whether it shall go on waiting

OnWait = Callable[[str], None]  # called with the fault in one line at every failed try, with "" when the storage is back


def _nobody(fault: str) -> None:
    """Nobody wants to know."""


def _never() -> bool:
    """Nobody gives up."""
    return False


class Patience:
    """Repeats what the storage fails at: after random times whose bound doubles, until `seconds` have passed.

    seconds: 0 passes every fault on at once. Threads share one object; on_wait hears of them together. given_up: once it is
    true, every fault is passed on.
    """

    def __init__(self, seconds: float = 0.0, on_wait: OnWait = _nobody, given_up: Callable[[], bool] = _never) -> None:
        self.seconds, self.on_wait, self._given_up = seconds, on_wait, given_up
        self._waiting: set[int] = set()  # threads
        self._inside = threading.local()
        self._lock = threading.Lock()

    def __call__(self, action: Callable[[], T]) -> T:
        """The result of the action.

        Raises:
            StorageError: it has failed for longer than `seconds`; the text says how long was waited.
        """
        if not self.seconds or getattr(self._inside, "repeats", False):  # what repeats the whole repeats its parts
            return action()
        begun = time.monotonic()
        self._inside.repeats = True
        tries = Retrying(
            retry=retry_if_exception_type(StorageError),
            stop=lambda state: self._given_up() or (state.seconds_since_start or 0.0) >= self.seconds,
            sleep=self._sleep,
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT),
            before_sleep=lambda state: self._tell(str(state.outcome.exception() if state.outcome else "")),
            reraise=True,
        )
        try:
            result = tries(action)
        except StorageError as error:
            self._over(mended=False)
            raise StorageError(f"{error} (waited {_in_words(time.monotonic() - begun)} for it)") from error
        except BaseException as error:  # an answer too, such as: there is no such file; an interruption is none
            self._over(mended=isinstance(error, Exception))
            raise
        finally:
            self._inside.repeats = False
        self._over(mended=True)
        return result

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Meanwhile this thread gets every fault at once."""
        before = getattr(self._inside, "repeats", False)
        self._inside.repeats = True
        try:
            yield
        finally:
            self._inside.repeats = before

    def as_here(self, function: Callable[[A], T]) -> Callable[[A], T]:
        """The function, which gets faults as this thread does now, in whatever thread it runs."""
        if not getattr(self._inside, "repeats", False):
            return function

        def run(argument: A) -> T:
            with self.suspended():
                return function(argument)

        return run

    def settled(self, look: Callable[[], T | None]) -> T | None:
        """What `look` finds of something that was written. An object store or a network disk may not show it at once."""
        tries = Retrying(
            retry=lambda state: state.outcome is not None and not state.outcome.failed and state.outcome.result() is None,
            stop=stop_after_delay(min(self.seconds, SETTLE_SECONDS)),
            wait=wait_random_exponential(multiplier=FIRST_WAIT, max=SETTLE_SECONDS / 4),
            retry_error_callback=lambda state: None,
        )
        return tries(look)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._given_up():
            time.sleep(min(left, LOOK_SECONDS))

    def _tell(self, fault: str) -> None:
        with self._lock:
            self._waiting.add(threading.get_ident())
            self.on_wait(fault)

    def _over(self, mended: bool) -> None:
        with self._lock:
            waited = threading.get_ident() in self._waiting
            self._waiting.discard(threading.get_ident())
            if waited and mended and not self._waiting:
                self.on_wait("")


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class _Patient(Protocol):
    patience: Patience


S = TypeVar("S", bound=_Patient)


def patiently(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """A method that is repeated, by the patience of its object, while the storage fails."""

    @wraps(method)
    def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.patience(lambda: method(self, *args, **kwargs))

    return repeated
