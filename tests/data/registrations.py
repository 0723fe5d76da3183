"""Data sets that a test registers are unknown again after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from memloc.data import KINDS, registered


@contextmanager
def forgotten() -> Iterator[None]:
    """Whatever is registered within is forgotten at the end, by name and by content."""
    with mock.patch.dict(KINDS), mock.patch.dict(registered._REGISTERED):
        yield
