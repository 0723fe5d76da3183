"""Writes what this run is doing into small files of the store and overwrites them, and looks there for an order to stop."""

from __future__ import annotations

import platform
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

from memloc.errors import StoreError
from memloc.run.clock import PricedPlan
from memloc.run.events import Event
from memloc.run.pending import Work, waves
from memloc.store import Store, heartbeats, leases, stops
from memloc.store.stops import STOPPING

SECONDS = 10.0  # between two heartbeats of a trial whose stages have not changed, and between two looks for an order
LOOK_SECONDS = 1.0
AT_ONCE = 16  # files that are written together on an object store


def new_run() -> str:
    """A name for a run: its local time, and a random part."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


class Heartbeats:
    """An observer that notes what each trial is doing, and a thread that writes the notes: changes at once, others rarely.

    It renews the leases of these trials too, and looks for an order of `memloc stop` with each heartbeat of the run. The
    thread runs inside `with`. At the end all heartbeats and leases of the run and the order are removed.

    sweep: NAME@sha8 of the record that the run carries out. run: its name. on_order: called once, in the thread, with the
    host where the order was given.
    """

    def __init__(
        self, store: Store, works: Sequence[Work], sweep: str, run: str, on_order: Callable[[str], None] = lambda host: None
    ) -> None:
        self.store, self.run, self._on_order = store, run, on_order
        self.holder = leases.this_process(run)
        self._leased: set[str] = set()  # trials, from their beginning until their lease is released
        self._over: set[str] = set()  # those of them that have ended
        self._told = self._stopping = False
        self._left = {w.trial.id: _left(w) for w in works}
        self._until = {w.trial.id: w.until for w in works}
        self._replays = {w.trial.id for w in works if w.train == "replay"}
        self._notes: dict[str, dict[str, Any]] = {}
        self._host = platform.node()
        self._run_state = {"sweep": sweep, "host": self._host, "state": "starting", "begun": time.time()}
        self._replayed: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeats:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Writes no more, and removes what was written. If the storage fails, the rest stays: it is stale in a minute."""
        self._stop.set()
        self._thread.join()
        files = self.store.files  # each of these takes minutes on a server that hangs
        if self._write(heartbeats.clear, files, self.run) and self._write(stops.withdraw, files, self.run):
            self._release(self._leased)

    def stopping(self) -> None:
        """The run has an order to stop, from wherever: status says so. A signal's handler calls it, so it takes no lock."""
        self._stopping = True

    def planned(self, plan: PricedPlan) -> None:
        """Writes the prices, from which status computes the time left. A later round has less to do than the first one."""
        self._run_state["state"] = "running"
        with self._lock:
            for cost in plan.trials:
                train = {cost.trial: "train"} if cost.train else {}
                self._left[cost.trial] = train | {part.id: part.stage for wave in cost.waves for part in wave}
                self._until[cost.trial] = cost.epochs
            self._replays = {cost.trial for cost in plan.trials if cost.replays}
        self._write(heartbeats.write_plan, self.store.files, self.run, plan.as_json())

    def __call__(self, event: Event) -> None:
        if event.kind in ("card", "no_card"):
            return  # nothing of a trial
        with self._lock:
            if event.kind in ("trained", "part", "failed"):
                self._left[event.trial].pop(event.part_id or event.trial, None)
            if event.kind == "trained" and event.trial in self._replays:
                self._replayed[event.trial] = self._notes.get(event.trial, {}).get("seconds", event.seconds)
            if event.kind == "started":  # the executor has taken the lease
                self._leased.add(event.trial)
                self._over.discard(event.trial)
            if event.kind in ("finished", "unfinished", "elsewhere"):  # elsewhere: the lease was lost after the beginning
                self._notes.pop(event.trial, None)
                self._over |= {event.trial} & self._leased
                return
            if event.kind == "waiting" and event.trial not in self._notes:
                return  # the end of its waiting, told after the end of its work
            note = self._notes.setdefault(event.trial, self._first(event.trial))
            stages = _at_work(self._left[event.trial], {*note["stages"], event.stage})
            if event.kind == "waiting" and event.error and note["state"] == "storage":
                return  # the time of its news says since when it waits
            news = {"news": time.time(), **self._news(note, event)}
            if note["state"] == "storage" and event.kind != "waiting":  # another process of the trial has got on
                news |= {"state": "storage", "before": news.get("state", note["before"]), "news": note["news"]}
            self._notes[event.trial] = {**note, **news, "stages": stages}

    def _first(self, trial: str) -> dict[str, Any]:
        """The note of a trial of which nothing runs yet."""
        replays = {"replays": True} if trial in self._replays else {}
        return {"stages": [], "state": "waiting", "host": self._host, **replays}

    def _news(self, note: Mapping[str, Any], event: Event) -> dict[str, Any]:
        """What an event changes in the note of its trial."""
        if event.kind == "waiting":
            before = note["before"] if note["state"] == "storage" else note["state"]
            state = "storage" if event.error else before
            return {"state": state, "fault": event.error, "before": before}
        if event.kind == "placed" and event.stage == "train":
            return {"state": "starting", "host": event.host, **({"fault": ""} if "fault" in note else {})}
        if event.kind == "epoch" and not event.metrics and note["state"] != "running":
            return {"state": "running", **self._begun(event)}
        if event.kind == "epoch":
            # The first news of it may come from the middle: who passed on its beginning may have been lost.
            before = note if "from_epoch" in note else self._begun(event, event.epoch - 1)
            news = {"epoch": event.epoch, "metrics": dict(event.metrics), "seconds": before["seconds"] + event.seconds}
            return {**before, **news, "state": "running"}
        if event.kind == "needs":
            return {"state": "waiting" if event.error else "running", "fault": event.error}
        if event.kind == "again" and event.stage == "train":
            return {"state": "waiting"}
        return {} if event.kind == "started" else {"state": "running"}

    def _begun(self, event: Event, epoch: int | None = None) -> dict[str, Any]:
        """The note of a training that goes on from an epoch, by default the event's."""
        epoch = event.epoch if epoch is None else epoch
        return {"epochs": self._until[event.trial], "from_epoch": epoch, "epoch": epoch, "seconds": 0.0}

    def notes(self) -> dict[str, dict[str, Any]]:
        """{trial at work: its heartbeat}.

        stages: the present stages. state: `waiting` (for a place), `starting` (its process), `running`, or `storage` if a
        process waits for the storage because of a `fault`. host: where its training runs, else the driver's host. news: the
        time of the last event (seconds since 1970). For a training also:
        epoch, epochs (where it ends), from_epoch (where this run began), metrics of the epoch, seconds of this run's epochs,
        and replays, if it is committed and trains again for lost checkpoints.
        """
        with self._lock:
            return {trial: dict(note) for trial, note in self._notes.items()}

    def _note_of_run(self) -> dict[str, Any]:
        """The heartbeat of the run. replayed: {trial whose training again has ended: its seconds}."""
        with self._lock:
            state = {"state": STOPPING} if self._stopping else {}
            return {**self._run_state, **state, **({"replayed": dict(self._replayed)} if self._replayed else {})}

    def _beat(self) -> None:
        written: dict[str, tuple[Any, float]] = {}  # {trial, or "" for the run: (its stages and state, when written)}
        while True:
            notes = {"": self._note_of_run(), **self.notes()}
            due = {name: note for name, note in notes.items() if _is_due(note, written.get(name))}
            for name in self._each(partial(self._tell, due), due):
                written[name] = _state(due[name]), time.monotonic()
            # A trial that has ended is not at work until its heartbeat is stale.
            for name in self._each(partial(heartbeats.forget, self.store.files, self.run), written.keys() - notes.keys()):
                del written[name]
            self._release(self._over)
            if self._stop.wait(LOOK_SECONDS):
                return

    def _tell(self, notes: Mapping[str, Mapping[str, Any]], name: str) -> None:
        files, note = self.store.files, notes[name]
        if name:
            heartbeats.write(files, self.run, name, note)
            leases.renew(files, name, self.holder)
        else:
            heartbeats.write_run(files, self.run, note)
            self._look_for_order()

    def _release(self, trials: Collection[str]) -> None:
        """Ends the leases of trials. Those that the store does not let go grow old."""
        with self._lock:
            ended = list(trials)
            self._leased -= set(ended)
            self._over -= set(ended)
        self._each(lambda trial: leases.release(self.store.files, trial, self.holder), ended)

    def _each(self, action: Callable[[str], None], names: Iterable[str]) -> list[str]:
        """Does this for each name, many at a time on an object store; returns those for which the store took it.

        The names after a failure are left out: on a server that hangs, each would take minutes.
        """
        names, done = list(names), []
        for begin in range(0, len(names), AT_ONCE):
            batch = names[begin : begin + AT_ONCE]
            taken = list(self.store.files.map(lambda name: self._write(action, name), batch))
            done += [name for name, ok in zip(batch, taken, strict=True) if ok]
            if not all(taken):
                break
        return done

    def _look_for_order(self) -> None:
        """One small read, until there is an order."""
        with suppress(StoreError):  # the next look finds it
            order = None if self._told else stops.find(self.store.files, self.run)
            if order is not None:
                self._told = True
                self.stopping()
                self._on_order(order.host)

    def _write(self, action: Callable[..., None], *arguments: Any) -> bool:
        """Writes or removes, and returns whether the store took it."""
        try:
            action(*arguments)
        except StoreError:
            return False  # status knows less for a while; if the store is gone, the work itself will fail
        return True


def _state(note: Mapping[str, Any]) -> Any:
    """What of a note is written at once when it has changed."""
    return note.get("stages"), note["state"], len(note.get("replayed", ()))


def _is_due(note: Mapping[str, Any], written: tuple[Any, float] | None) -> bool:
    """Whether a note must be written now. written: (its stages and state, when) of the last time."""
    return written is None or _state(note) != written[0] or time.monotonic() - written[1] >= SECONDS


def _left(work: Work) -> dict[str, str]:
    """{part id: stage} of what is to be done, in the order in which it begins."""
    train = {work.trial.id: "train"} if work.train != "done" else {}
    return train | {part_id: analysis.stage for wave in waves(work.parts) for analysis, part_id, _ in wave}


def _at_work(left: dict[str, str], seen: set[str]) -> list[str]:
    """The stages that have begun and have parts left; if there is none, the next stage."""
    stages = list(dict.fromkeys(left.values()))
    return [stage for stage in stages if stage in seen] or stages[:1]
