"""Tells other shells what this run is doing: one small file per trial, overwritten. For status alone."""

from __future__ import annotations

import threading
import time
import uuid

from memloc.errors import StoreError
from memloc.run.events import Event
from memloc.store import Store, records

SECONDS = 10.0


class Heartbeats:
    """A listener that notes each trial's stage, and a thread that writes the notes down every few seconds."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.run = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self._at_work: dict[str, dict[str, object]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if event.kind in ("finished", "drained"):
                self._at_work.pop(event.trial, None)
            elif event.kind == "trained":
                self._at_work[event.trial] = {"stage": "", "epoch": event.epoch}
            elif event.kind != "failed":
                self._at_work[event.trial] = {"stage": event.stage or "train", "epoch": event.epoch}

    def _beat(self) -> None:
        while not self._stop.wait(1.0 if not self._at_work else SECONDS):
            with self._lock:
                now = dict(self._at_work)
            for trial, record in now.items():
                try:
                    records.write_heartbeat(self.store.files, self.run, trial, record)
                except StoreError:
                    break  # status will say "pending" for a while; the work itself decides whether the store is gone

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        records.clear_heartbeats(self.store.files, self.run)
