"""Sentences on a terminal: how wide they are, and how they are broken into lines."""

from __future__ import annotations

import shutil
import sys
import textwrap

WIDTH = 100  # columns of a line at most: longer ones are hard to read
NARROWEST = 20


def terminal_width() -> int:
    """The columns of the terminal, at most 100; 100 in a pipe. The environment's COLUMNS counts if it is set."""
    return max(NARROWEST, min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH))


def wrapped(text: str, first: str = "", more: str | None = None) -> list[str]:
    """The lines of a text, as wide as the terminal; no word is broken.

    Args:
        first: what stands before the first line.
        more: what stands before the others, by default the same.
    """
    return textwrap.wrap(
        text,
        terminal_width(),
        initial_indent=first,
        subsequent_indent=first if more is None else more,
        break_long_words=False,
        break_on_hyphens=False,
    )


def fitted(text: str) -> str:
    """The text with its long lines broken between words, if it goes to a terminal; in a pipe a line stays one.

    What follows in the next line is indented by two columns more than the line.
    """
    if not sys.stdout.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return "\n".join(
        piece
        for line in text.split("\n")
        for piece in ([line] if len(line) <= columns else wrapped(line, "", " " * (len(line) - len(line.lstrip()) + 2)))
    )
