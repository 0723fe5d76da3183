"""Live progress of a sweep: a panel on a terminal, plain lines in a pipe."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from memloc.commands.words import seconds_in_words
from memloc.run.events import Event
from memloc.run.pending import Work
from memloc.run.quantities import part_passes, train_passes

log = logging.getLogger("memloc")
SHOWN = 12  # trials at work on the panel


class Progress:
    """A listener. Weighs every step by its cost estimate, so that the bar and the ETA mean time."""

    def __init__(self, works: Sequence[Work], labels: Mapping[str, str], quiet: bool = False) -> None:
        self.labels, self.quiet = labels, quiet
        self.works = {w.trial.id: w for w in works}
        self.cost = {i: part_passes(w.trial, a) for w in works for a, i, _ in w.parts}
        self.left = {w.trial.id: train_passes(w.trial) if w.train != "done" else 0.0 for w in works}
        self.total = sum(self.cost.values()) + sum(self.left.values())
        self.parts_left = {w.trial.id: {i: a.stage for a, i, _ in w.parts} for w in works}
        self.doing: dict[str, str] = {}
        self.finished = self.failed = 0
        self.begun = time.monotonic()
        self.first: float | None = None  # when work really began: the ETA counts from here
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._panel, transient=True)

    def __enter__(self) -> Progress:
        if self._is_live:
            self.live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._is_live:
            self.live.stop()

    @property
    def _is_live(self) -> bool:
        return self.console.is_terminal and not self.quiet

    def __call__(self, event: Event) -> None:
        log.info("%s", event)
        trial = event.trial
        self.first = self.first or time.monotonic()
        if event.kind == "started":
            self.doing[trial] = "starting"
        elif event.kind == "epoch":
            epochs = self.works[trial].trial.config.epochs
            self.doing[trial] = f"train {event.epoch}/{epochs}"
            self.left[trial] = train_passes(self.works[trial].trial) * (1 - event.epoch / epochs)
        elif event.kind == "trained":
            self.left[trial] = 0.0
            self._say(trial, f"trained in {event.seconds:.1f} s")
        elif event.kind == "part":
            self._part(event)
        elif event.kind == "failed":
            self.failed += 1
            self.cost.pop(event.part_id, None)
            self._say(trial, f"{event.stage} FAILED: {event.error}")
        elif event.kind == "finished":
            self.finished += 1
            self.doing.pop(trial, None)
            self._say(trial, f"done ({self.finished} of {len(self.works)} trials{self._eta()})")
        elif event.kind == "drained":
            self.doing.pop(trial, None)

    def _part(self, event: Event) -> None:
        self.cost.pop(event.part_id, None)
        left = self.parts_left[event.trial]
        left.pop(event.part_id, None)
        same = sum(stage == event.stage for stage in left.values())
        self.doing[event.trial] = f"{event.stage}, {same} to go" if same else f"{event.stage} done"
        if not same:
            self._say(event.trial, f"{event.stage} done")

    def notice(self, text: str) -> None:
        """A line above the panel, or in the pipe."""
        log.info("%s", text)
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=True)

    def _say(self, trial: str, text: str) -> None:
        if not self._is_live and not self.quiet:
            elapsed = time.monotonic() - self.begun
            print(f"[{elapsed:5.0f} s] {trial[:8]} {self.labels[trial]}: {text}", file=sys.stderr, flush=True)

    def _remaining(self) -> float:
        return sum(self.cost.values()) + sum(self.left.values())

    def _eta(self) -> str:
        done = self.total - self._remaining()
        if self.first is None or done <= 0 or not self._remaining():
            return ""
        seconds = (time.monotonic() - self.first) * self._remaining() / done
        return f", about {seconds_in_words(seconds)} to go"

    def _panel(self) -> Group:
        failed = f", {self.failed} parts failed" if self.failed else ""
        head = Text(f"{self.finished} of {len(self.works)} trials done{failed}{self._eta()}")
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=self.total or 1, completed=self.total - self._remaining(), width=50))
        table = Table.grid(padding=(0, 2))
        news = max(map(len, self.doing.values()), default=0)
        table.add_column(no_wrap=True)
        # On a narrow terminal the label gives way, not the news.
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, self.console.width - 8 - news - 6))
        table.add_column(no_wrap=True)
        for trial, what in list(self.doing.items())[:SHOWN]:
            table.add_row(trial[:8], self.labels[trial], what)
        if len(self.doing) > SHOWN:
            table.add_row("", f"and {len(self.doing) - SHOWN} more", "")
        return Group(head, bar, table)
