"""Tells other shells what this run is doing: one small file per trial, overwritten. For status alone."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any

from memloc.errors import StoreError
from memloc.run.events import Event
from memloc.run.pending import Work, waves
from memloc.store import Store, records

SECONDS = 10.0  # between two heartbeats of a trial that is at the same stages
LOOK_SECONDS = 1.0


class Heartbeats:
    """A listener that notes what each trial is at, and a thread that writes it down: news at once, else now and then."""

    def __init__(self, store: Store, works: Sequence[Work]) -> None:
        self.store = store
        self.run = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self._left = {w.trial.id: _left(w) for w in works}
        self._at_work: dict[str, dict[str, Any]] = {}
        self._finished: dict[str, dict[str, float]] = {}
        self._begun: float | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._begun = self._begun or time.monotonic()
            if event.kind in ("trained", "part"):
                self._finish(event)
            if event.kind in ("trained", "part", "failed"):
                self._left[event.trial].pop(event.part_id or event.trial, None)
            if event.kind in ("finished", "drained"):
                self._at_work.pop(event.trial, None)
            else:
                seen = self._at_work.get(event.trial, {"stages": []})["stages"]
                stages = _at_work(self._left[event.trial], {*seen, event.stage})
                self._at_work[event.trial] = {"stages": stages, "epoch": event.epoch}

    def _finish(self, event: Event) -> None:
        if event.seconds:  # else somebody else had committed it
            stage = self._finished.setdefault(event.stage, {"parts": 0, "seconds": 0.0})
            stage["parts"] += 1
            stage["seconds"] += event.seconds

    def notes(self) -> dict[str, dict[str, Any]]:
        """{trial at work: its heartbeat}.

        stages: those it is at. elapsed: seconds since the run's first event. finished: {stage: {"parts", "seconds"}} of
        the whole run so far, left: {stage: parts} that it will still do.
        """
        with self._lock:
            elapsed = time.monotonic() - self._begun if self._begun is not None else 0.0
            left = Counter(stage for parts in self._left.values() for stage in parts.values())
            finished = {stage: dict(sums) for stage, sums in self._finished.items()}
            of_run = {"elapsed": elapsed, "finished": finished, "left": dict(left)}
            return {trial: {**note, **of_run} for trial, note in self._at_work.items()}

    def _beat(self) -> None:
        written: dict[str, tuple[list[str], float]] = {}  # {trial: (its stages, when)}
        while not self._stop.wait(LOOK_SECONDS):
            now = time.monotonic()
            for trial, note in self.notes().items():
                stages, when = written.get(trial, (None, now))
                if stages == note["stages"] and now - when < SECONDS:
                    continue
                try:
                    records.write_heartbeat(self.store.files, self.run, trial, note)
                except StoreError:
                    break  # status will say "pending" for a while; the work itself decides whether the store is gone
                written[trial] = note["stages"], now

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        records.clear_heartbeats(self.store.files, self.run)


def _left(work: Work) -> dict[str, str]:
    """{part id: stage} of what is to be done, in the order in which it begins."""
    train = {work.trial.id: "train"} if work.train != "done" else {}
    return train | {part_id: analysis.stage for wave in waves(work.parts) for analysis, part_id, _ in wave}


def _at_work(left: dict[str, str], seen: set[str]) -> list[str]:
    """The stages that have begun and have parts left; where there is none, the next one."""
    stages = list(dict.fromkeys(left.values()))
    return [stage for stage in stages if stage in seen] or stages[:1]
