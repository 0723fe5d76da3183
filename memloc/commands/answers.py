"""What a command prints with --json, and nothing beside it on standard output.

A user's file prints too: a network, a plugin, what they import. From where `--json` is read that goes to standard error,
also what a library or another process prints without Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

from memloc.commands.terminal import Output
from memloc.errors import OutputError

_is_program = False  # else arguments are only parsed
_usual: Any = None  # sys.stdout, while it is apart
_descriptor: int | None = None  # standard output, while descriptor 1 is standard error
_stream: Any = None  # on which answers are printed, while they are apart


@contextmanager
def of_program() -> Iterator[None]:
    """Within it the program runs. At its end standard output is what it was."""
    global _is_program
    _is_program = True
    try:
        yield
    finally:
        _is_program = False
        together()


def apart(context: typer.Context, as_json: bool) -> bool:
    """With --json: answers alone go to standard output from now on. Returns what it was given. context: of the command."""
    global _usual, _descriptor, _stream
    if as_json and _is_program and _stream is None and not context.resilient_parsing:  # as where a shell completes a line
        sys.stdout.flush()
        _usual, _stream = sys.stdout, sys.stdout
        with suppress(OSError):  # closed
            copy = os.dup(1)
            os.dup2(2, 1)
            _descriptor = copy
        with suppress(OSError, AttributeError):  # a stream without a descriptor: it is apart already
            if _usual.fileno() == 1 and _descriptor is not None:
                lines = 1 if _usual.isatty() else -1
                kept = open(_descriptor, "w", lines, _usual.encoding, _usual.errors, closefd=False)  # noqa: SIM115
                _stream = Output(kept)
        sys.stdout = sys.stderr
    return as_json


def together() -> None:
    """Standard output is what it was."""
    global _usual, _descriptor, _stream
    if _stream is None:
        return
    with suppress(OSError, OutputError):
        sys.stdout.flush()
        _stream.flush()
    if _descriptor is not None:
        os.dup2(_descriptor, 1)
        os.close(_descriptor)
    sys.stdout, _usual, _descriptor, _stream = _usual, None, None, None


def stream() -> Any:
    """On which a command prints its answer."""
    return sys.stdout if _stream is None else _stream


def descriptors() -> list[int]:
    """Those of standard output."""
    return [1] if _descriptor is None else [_descriptor]


def answer(text: str, end: str = "\n") -> None:
    """Prints what the command was asked for."""
    print(text, end=end, file=stream(), flush=True)
