"""Live progress of a sweep: a panel on a terminal, plain lines in a pipe."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from memloc.commands.formatting import duration_in_words, metrics_in_words, seconds_in_words
from memloc.commands.storage_faults import StorageFaults
from memloc.commands.terminal import can_redraw
from memloc.counts import counted
from memloc.run.clock import PricedPlan, Watch, remaining, time_left
from memloc.run.events import Event
from memloc.run.pending import Work

log = logging.getLogger("memloc")
SHOWN = 12  # trials at work on the panel
BESIDES = 6  # lines of the panel besides those: its head (up to three on a narrow terminal), the bar, the rest, the cursor
ID = 8  # characters of a trial's id
ECHO = 3  # columns for the `^C` that a terminal shows at the end of the panel
LABEL = 6  # characters of its label at least
SHOWN_IN_LINE = 3  # trainings in a line of a pipe
SILENT_SECONDS = 30.0  # a pipe gets a line at least this often
TICK_SECONDS = 1.0
STOPPING = "stopping"


class Countdown:
    """The time left of a run. It is computed now and then, and counted down in between."""

    def __init__(self, plan: PricedPlan) -> None:
        self.watch = Watch(plan)
        self.total = sum(trial.work() for trial in plan.trials)
        self._news = time.monotonic()
        self._read: float | None = None  # when the clock was read last
        self._cost = 0.0  # seconds that a reading takes: a simulation of what is left
        self._left: float | None = None

    def __call__(self, event: Event) -> None:
        self.watch(event)
        self._news = time.monotonic()

    @property
    def begun(self) -> bool:
        """Has the first work started?"""
        return self.watch.begun

    def left(self) -> float | None:
        """Seconds until the end; None while that is not known."""
        if not self.begun:
            return None
        now = time.monotonic()
        if self._read is None or now - self._read > max(1.0, 20 * self._cost):
            self._left = time_left(self.watch.plan, self.watch.course, now - self._news)
            self._read, self._cost = now, time.monotonic() - now
        return None if self._left is None else max(0.0, self._left - (now - self._read))

    def done(self) -> float:
        """The share of the work, by its price, that has ended."""
        if not self.total:
            return 0.0
        return 1 - sum(trial.work() for trial in remaining(self.watch.plan, self.watch.course)) / self.total


class Progress:
    """Shows what a launch does. The time left is that of run/clock.py."""

    def __init__(self, works: Sequence[Work], labels: Mapping[str, str], quiet: bool = False) -> None:
        self.labels, self.quiet = labels, quiet
        self.until = {w.trial.id: w.until for w in works}
        self.parts_left = {w.trial.id: {i: a.stage for a, i, _ in w.parts} for w in works}
        self.doing: dict[str, str] = {}
        self.state = ""  # what the launch does before the first event
        self.finished = 0
        self.failed: dict[str, int] = {}  # {trial: how many parts of it have failed; its training counts as one}
        self.storage = StorageFaults()
        self.begun = self.said = time.monotonic()
        self.countdown: Countdown | None = None
        self._lock = threading.RLock()  # other threads draw the panel and print lines after silence
        self._drawn = Group()
        self.console = Console(stderr=True)
        self._is_live = can_redraw(self.console) and not quiet  # asked once: the terminal may be closed under way
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._panel, transient=True)
        self._stop = threading.Event()
        self._ticking = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._is_live:
            self.live.start()
        elif not self.quiet:
            self._ticking.start()
        return self

    def close(self) -> None:
        """Removes the panel, and says no more."""
        self._stop.set()
        if self._is_live:
            self.live.stop()
        elif not self.quiet:
            self._ticking.join()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if kind is None:
            took = duration_in_words(time.monotonic() - self.begun)
            self._line(f"{self.finished} of {counted(len(self.until), 'trial')} done in {took}")

    # --- what happens

    def starting(self, what: str) -> None:
        """Says that something is being started that takes time."""
        self.state = f"starting {what}"
        if not self._is_live:
            self._line(self.state)

    def stopping(self, host: str | None = None) -> None:
        """Says that an order to stop has come. host: where `memloc stop` gave it; None: it is a signal."""
        begun = self.doing or (
            self.countdown is not None and self.countdown.begun
        )  # news of a first epoch may be on its way
        what = "finishing the epochs and parts that are running" if begun else "stopping; nothing has begun yet"
        self.state = STOPPING
        if host is None:
            self.notice(f"interrupted: {what} (press Ctrl-C again to stop at once)")
        else:
            self.notice(f"stopped by `memloc stop` at {host}: {what} (press Ctrl-C to stop at once)")

    def planned(self, plan: PricedPlan) -> None:
        """Takes the prices of the work; from now on a time can be given."""
        with self._lock:
            self.countdown = Countdown(plan)
            for cost in plan.trials:  # in a later round other drivers have done some of them
                self.parts_left[cost.trial] = {part.id: part.stage for wave in cost.waves for part in wave}
            self.state = self.state if self.state == STOPPING else "starting processes"

    def __call__(self, event: Event) -> None:
        log.info("%s", event)
        with self._lock:
            if self.countdown:
                self.countdown(event)
            self._take_in(event)

    def waits(self, fault: str) -> None:
        """The driver itself waits for the storage; fault: "" if it waits no more."""
        self(Event("waiting", "", error=fault))

    def _take_in(self, event: Event) -> None:
        trial = event.trial
        if event.kind == "started":
            self.doing[trial] = "waiting for a place"
        elif event.kind == "elsewhere":
            self.doing[trial] = f"another run works on it, at {event.host}"
            self._say(trial, self.doing[trial])
        elif event.kind == "placed":
            self.doing[trial] = "starting" if event.stage == "train" else event.stage
        elif event.kind == "epoch":
            self._epoch(event)
        elif event.kind == "trained":
            self._say(trial, f"trained in {duration_in_words(event.seconds)}")
        elif event.kind == "part":
            self._part(event)
        elif event.kind in ("waiting", "card"):
            if told := event.error if event.kind == "card" else self.storage.news(trial, event.error):
                self._line(told)
        elif event.kind == "again":
            self.doing[trial] = "waiting for a place"
            self._say(trial, f"{event.stage}: {event.error}; in line again, for more room")
        elif event.kind == "needs":
            self.doing[trial] = f"{event.stage} {event.error or 'starts'}"
            self._say(trial, self.doing[trial])
        elif event.kind in ("gave_up", "no_card"):
            self.state = STOPPING
        elif event.kind == "failed":
            self.failed[trial] = self.failed.get(trial, 0) + 1
            self.parts_left[trial].pop(event.part_id, None)
            self._say(trial, f"{event.stage} FAILED: {event.error}")
        elif event.kind == "finished":
            self.finished += 1
            self.doing.pop(trial, None)
            self.storage.news(trial, "")
            self._say(trial, f"done ({self.finished} of {counted(len(self.until), 'trial')}{self._eta()})")
        elif event.kind == "unfinished":
            self.doing.pop(trial, None)
            self.storage.news(trial, "")
            if trial in self.failed:
                self._say(trial, f"ended, {counted(self.failed[trial], 'part')} failed")

    def _epoch(self, event: Event) -> None:
        epochs = self.until[event.trial]
        if not event.metrics and self.doing.get(event.trial) in ("starting", "waiting for a place") and event.epoch:
            self.doing[event.trial] = f"goes on from epoch {event.epoch}/{epochs}"
            return self._say(event.trial, f"goes on from epoch {event.epoch} of {epochs}")
        metrics = metrics_in_words(event.metrics)
        self.doing[event.trial] = f"epoch {event.epoch}/{epochs}" + (f" {metrics}" if metrics else "")
        return None

    def _part(self, event: Event) -> None:
        left = self.parts_left[event.trial]
        left.pop(event.part_id, None)
        same = sum(stage == event.stage for stage in left.values())
        ended = f"{event.stage} {'not run, since `stop` has ended the training' if event.not_run else 'done'}"
        self.doing[event.trial] = f"{event.stage}, {same} to go" if same else ended
        if not same:
            self._say(event.trial, ended)

    # --- lines

    def notice(self, text: str) -> None:
        """A line above the panel, or in the pipe."""
        log.info("%s", text)
        if not self.quiet:
            self.console.print(Text(text), soft_wrap=True)

    def _line(self, text: str) -> None:
        """A line with the time, above the panel or in the pipe."""
        if self.quiet:
            return
        elapsed = time.monotonic() - self.begun
        self.said = time.monotonic()
        if self._is_live:
            self.console.print(Text(text), soft_wrap=True)
        else:
            print(f"[{elapsed:5.0f} s] {text}", file=sys.stderr, flush=True)

    def _say(self, trial: str, text: str) -> None:
        """Prints news of a trial in a pipe. The panel shows the news anyway."""
        if not self._is_live:
            self._line(f"{trial[:8]} {self.labels[trial]}: {text}")

    def _tick(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            with self._lock:
                if time.monotonic() - self.said >= SILENT_SECONDS:
                    self._line("; ".join([self._head(), *self._under_way()]))

    def _under_way(self) -> list[str]:
        trials = [f"{trial[:8]} {what}" for trial, what in self.doing.items()]
        more = len(trials) - SHOWN_IN_LINE
        return trials[:SHOWN_IN_LINE] + ([f"and {more} more"] if more > 0 else [])

    # --- the panel

    def _head(self) -> str:
        if self.countdown is None or not self.countdown.begun:
            return self.state or "starting"
        waiting = f", {self.storage.waiting}" if self.storage.waiting else ""
        failed = f", {counted(sum(self.failed.values()), 'part')} failed" if self.failed else ""
        stopping = ", stopping" if self.state == STOPPING else "" if waiting else self._eta()
        return f"{self.finished} of {counted(len(self.until), 'trial')} done{failed}{waiting}{stopping}"

    def _eta(self) -> str:
        left = self.countdown.left() if self.countdown else None
        return "" if not left or left < 1 else f", about {seconds_in_words(left)} to go"

    def _panel(self) -> Group:
        """The panel; the last one while an event is handled, because its thread may wait to print above the panel."""
        if self._lock.acquire(timeout=0.1):
            try:
                self._drawn = self._draw()
            finally:
                self._lock.release()
        return self._drawn

    def _draw(self) -> Group:
        elapsed = f" [{duration_in_words(time.monotonic() - self.begun)}]"
        bar = Table.grid()  # a bar by itself does not end its line
        bar.add_row(ProgressBar(total=1.0, completed=self.countdown.done() if self.countdown else 0.0, width=50))
        rows = max(1, min(SHOWN, self.console.height - BESIDES))
        more = len(self.doing) - rows
        rest = [Text(" " * (ID + 2) + f"and {more} more")] if more > 0 else []
        return Group(Text(self._head() + elapsed), bar, self._trials(rows), *rest)

    def _trials(self, rows: int) -> Table:
        """A row for each of so many trials at work. Those that a terminal has no lines for would scroll away and stay."""
        shown = list(self.doing.items())[:rows]
        width = self.console.width
        # On a narrow terminal the label gives way first, then the end of the news. The id tells the trials apart.
        label_room = width - ID - 4 - ECHO - max((len(what) for _, what in shown), default=0)
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        if label_room >= LABEL:
            table.add_column(no_wrap=True, overflow="ellipsis", max_width=label_room)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=width - ID - 2 - ECHO)
        for trial, what in shown:
            table.add_row(trial[:ID], *([self.labels[trial], what] if label_room >= LABEL else [what]))
        return table
