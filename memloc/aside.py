"""Calls of functions that need PyTorch, in a process of their own.

PyTorch takes half a gigabyte until its process ends, and the driver of a sweep computes nothing. So what a plan and a
forecast ask PyTorch is answered aside, by one process that ends before the sweep begins. Where this process has PyTorch
anyway, it answers itself.
"""

from __future__ import annotations

import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.Lock()
_other: _Other | None = None


class _Other:
    """The other process, and the line to it. It ends when the line does."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        # It imports from where this process does: not from the folder in which somebody has typed the command.
        begin = f"import sys; sys.path[:] = {sys.path!r}; from memloc.aside import _serve; _serve({theirs.fileno()})"
        command = [sys.executable, "-c", begin]
        with theirs:  # what a user's file prints is no answer of the command: it goes where errors go
            self.process = subprocess.Popen(  # Ctrl-C on a terminal is for this process alone, which ends the other one
                command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[theirs.fileno()], start_new_session=True
            )
        self.line = Connection(ours.detach())

    def ask(self, call: bytes) -> tuple[bool, Any]:
        """(whether the function has returned, what it returned or raised)."""
        try:
            self.line.send_bytes(call)
            answer: tuple[bool, Any] = pickle.loads(self.line.recv_bytes())
        except (EOFError, OSError):
            code = self.process.wait()
            raise RuntimeError(f"the process that asks PyTorch for the plan ended with exit code {code}") from None
        return answer

    def end(self) -> None:
        """Ends it, whatever it does."""
        self.line.close()
        self.process.kill()
        self.process.wait()


def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function of a module returns, or raises. Its module is imported without PyTorch, which the function imports.

    The function, what it takes and what it returns can be pickled.
    """
    if "torch" in sys.modules:
        return function(*args, **kwargs)
    global _other
    call = pickle.dumps((function, args, kwargs))
    with _lock:
        try:
            if _other is None:
                _other = _Other()
            returned, value = _other.ask(call)
        except BaseException:  # an order to stop too: the answer to this call must not be taken for that to the next one
            _end()
            raise
    if not returned:
        raise value
    result: T = value
    return result


@contextmanager
def aside_until_here() -> Iterator[None]:
    """At its end nothing more is asked for now: the other process ends. The next call would start one again."""
    try:
        yield
    finally:
        with _lock:
            _end()


def _end() -> None:
    global _other
    if _other is not None:
        _other.end()
        _other = None


def _serve(descriptor: int) -> None:
    """Answers calls until the line ends. Orders to stop are for the process that asks: it ends this one."""
    for order in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(order, signal.SIG_IGN)
    line = Connection(descriptor)
    while True:
        try:
            call = line.recv_bytes()
        except (EOFError, OSError):
            return
        line.send_bytes(_answer(call))


def _answer(call: bytes) -> bytes:
    try:
        function, args, kwargs = pickle.loads(call)
        return pickle.dumps((True, function(*args, **kwargs)))
    except Exception as error:
        error.add_note(f"memloc: raised in the process that asks PyTorch for the plan:\n{traceback.format_exc()}")
        try:
            pickle.loads(pickled := pickle.dumps((False, error)))
        except Exception:  # an error that cannot be sent is told of
            return pickle.dumps((False, RuntimeError("".join(traceback.format_exception(error)))))
        return pickled
