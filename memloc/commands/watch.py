"""Looks at something again and again, and shows its present state in place of the last one."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.text import Text

from memloc.commands.terminal import can_redraw
from memloc.errors import MemlocError

SECONDS = 5.0  # between two looks


def watch(look: Callable[[], str], console: Console | None = None) -> None:
    """Shows what `look` says, until Ctrl-C. A terminal that cannot be written over gets one look below the other.

    A look that fails, as on a store that cannot be reached, is told, and the next one follows.

    Raises:
        MemlocError: the first look fails.
    """
    console = console or Console()
    text = look()
    try:
        if not can_redraw(console):
            while True:
                console.print(Text(f"{text}\n"), soft_wrap=True)
                time.sleep(SECONDS)
                text = _again(look)
        # Its own screen, as of `top`: what is too wide or too long for the window is cut, and leaves nothing behind.
        with Live(_cut(text), console=console, screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(SECONDS)
                text = _again(look)
                live.update(_cut(text), refresh=True)
    except KeyboardInterrupt:
        if can_redraw(console):
            console.print(Text(text), soft_wrap=True)


def _again(look: Callable[[], str]) -> str:
    try:
        return look()
    except MemlocError as error:
        return "\n".join([*error.problems, f"The next look is in {SECONDS:g} s."])


def _cut(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
