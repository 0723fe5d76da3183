"""Sentences on a terminal: how wide they are, and how they are broken into lines."""

from __future__ import annotations

import shutil
import textwrap

WIDTH = 100  # columns of what is read as a page: the summary, the claims


def terminal_width() -> int:
    """The columns of the terminal, at most 100; 80 in a pipe. The environment's COLUMNS counts if it is set."""
    return min(shutil.get_terminal_size((80, 24)).columns, WIDTH)


def wrapped(text: str, first: str = "", more: str | None = None, width: int = WIDTH) -> list[str]:
    """The lines of a text; no word is broken.

    Args:
        first: what stands before the first line.
        more: what stands before the others, by default the same.
        width: columns of a line.
    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=first if more is None else more,
        break_long_words=False,
        break_on_hyphens=False,
    )
