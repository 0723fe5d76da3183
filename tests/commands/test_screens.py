"""Terminals that cannot be written over, pipes that are told to have colours, small windows, and looks that fail."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from memloc.commands import status as status_module
from memloc.commands import watch as watch_module
from memloc.commands.progress import Progress
from memloc.commands.watch import watch
from memloc.errors import StoreError
from memloc.interruption import interrupt
from memloc.run.pending import pending
from memloc.store import Store
from tests.conftest import TINY
from tests.run.test_plan import plan_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "environ", "live"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": "unknown"}, False),
        (False, {"TERM": "xterm"}, False),
        (False, {"TERM": "xterm", "FORCE_COLOR": "1"}, False),
        (False, {"TERM": "xterm", "TTY_COMPATIBLE": "1"}, False),
    ],
)
def test_what_gets_a_panel_and_what_gets_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    environ: dict[str, str],
    live: bool,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    store = Store(str(tmp_path / "store"))
    works = pending(plan_of(tmp_path, TINY), store, store.snapshot(), "all")
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    with Progress(works, {}) as progress:
        progress.starting("Ray")
    shown = screen.getvalue()
    assert ("\x1b[" in shown) == live
    assert ("] starting Ray\n" in shown) == (not live)  # with the seconds


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`watch` does not wait, and Ctrl-C comes while it would wait for the fourth time."""
    waits: list[int] = []

    def sleep(seconds: float) -> None:
        waits.append(1)
        if len(waits) == 4:
            interrupt()

    monkeypatch.setattr(watch_module.time, "sleep", sleep)
    return waits


def numbered(looks: list[int], width: int = 10) -> str:
    if len(looks) == 1:
        raise StoreError("store x: cannot be reached")
    return f"look {len(looks)} " + "x" * (width - 7) + "\nlast"


def test_a_dumb_terminal_gets_each_look(looks: list[int]) -> None:
    console = Console(file=Terminal(), force_terminal=True, width=20, _environ={"TERM": "dumb"})
    watch(lambda: numbered(looks), console)
    failed = "store x: cannot be reached\nThe next look is in 5 s.\n\n"
    shown = f"look 0 xxx\nlast\n\n{failed}look 2 xxx\nlast\n\nlook 3 xxx\nlast\n\n"
    assert console.file.getvalue() == shown  # type: ignore[attr-defined]


def test_a_small_window_is_never_left_and_the_last_look_stays(looks: list[int]) -> None:
    """Rows that were wrapped, or lines below the window, scrolled and left a copy of themselves with every look."""
    screen = Terminal()
    console = Console(file=screen, force_terminal=True, width=12, height=3, color_system=None, _environ={"TERM": "xterm"})
    watch(lambda: numbered(looks, width=30) + "\nline" * 5, console)
    inside, _, after = screen.getvalue().partition("\x1b[?1049l")  # the end of the screen of its own
    assert inside.startswith("\x1b[?1049h")
    assert inside.rpartition("\x1b[?25")[2].startswith("h")  # the cursor is shown again
    looked = [part for part in inside.split("\x1b[H") if "look" in part]
    assert len(looked) == 3
    for part in looked:
        rows = part.partition("\x1b[?25")[0].split("\n")
        assert len(rows) <= 3
        assert all(len(row) <= 12 for row in rows)
    assert "store x: ca…" in inside
    assert after.count("line") == 5
    assert after.startswith("look 3 " + "x" * 23 + "\nlast\n")


def test_a_first_look_that_fails_is_an_error(looks: list[int]) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        watch(lambda: numbered([1]), Console(file=io.StringIO()))


def test_a_store_that_vanishes(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It showed zeros."""
    home = tmp_path / "store"
    shutil.copytree(tiny, home)
    seen: list[str] = []

    def look_twice(look: Callable[[], str]) -> None:
        seen.append(look())
        shutil.rmtree(home)
        with pytest.raises(StoreError, match="does not exist"):
            look()

    monkeypatch.setattr(watch_module, "watch", look_twice)
    monkeypatch.setattr(status_module.sys.stdout, "isatty", lambda: True, raising=False)
    status_module.status("tiny", store=str(home), as_json=False, watch=True)
    assert "trials" in seen[0]
