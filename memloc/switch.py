"""Execution settings: how something is computed, not what. They are no fields of a configuration and enter no id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Switch:
    """A setting of this thread that is off by default: `with switch(): …`."""

    def __init__(self, name: str) -> None:
        self._on: ContextVar[bool] = ContextVar(name, default=False)

    @contextmanager
    def __call__(self, on: bool = True) -> Iterator[None]:
        """Sets it inside of the context."""
        before = self._on.get()
        self._on.set(on)
        try:
            yield
        finally:
            self._on.set(before)  # not `reset`: a generator may be closed in another context than it was begun in

    def is_on(self) -> bool:
        """Is it on in this thread?"""
        return self._on.get()
