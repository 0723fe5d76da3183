"""Reports of runs about themselves, for `memloc status` and for commands that ask who is at work. No result needs them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

from memloc.store import documents, layout, run_layout
from memloc.store.files import Files
from memloc.store.future_dates import is_ahead, renewed

# A driver writes a heartbeat about every 10 s. An older one than this belongs to a driver that is gone.
FRESH_SECONDS = 60.0
# Status judges by the clock of its own machine, which may be this much behind. A date further ahead is no driver's.
BEHIND_SECONDS = 3600.0

Heartbeats: TypeAlias = tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]


def write(files: Files, run: str, trial: str, record: Mapping[str, Any]) -> None:
    """Writes what a trial of a run is doing."""
    _put(files, run_layout.heartbeat(run, trial), {**record, "run": run, "trial": trial})


def write_run(files: Files, run: str, record: Mapping[str, Any]) -> None:
    """Writes what the run as a whole is doing."""
    _put(files, run_layout.run_heartbeat(run), {**record, "run": run})


def write_plan(files: Files, run: str, record: Mapping[str, Any]) -> None:
    """Writes the work of the run and its prices, once."""
    files.put(run_layout.run_plan(run), json.dumps(dict(record)).encode())


def read_plan(files: Files, run: str) -> Any:
    """The plan of a run as JSON; None if there is none, or if it is no JSON."""
    odd: dict[str, str] = {}
    path = run_layout.run_plan(run)
    plan = _json(path, documents.find(files, path, odd), odd)
    if odd:
        files.on_odd(odd)
    return plan


def _json(path: str, content: bytes | None, odd: dict[str, str]) -> Any:
    """The value in a file; None, and an entry in `odd`, if it is no JSON."""
    try:
        return None if content is None else documents.parse(content, plain=False)
    except ValueError as error:
        odd[path] = f"is no JSON ({error})"
        return None


def clear(files: Files, run: str) -> None:
    """Removes a run's heartbeats and its plan."""
    for path in layout.own(files.listing(run_layout.run_folder(run))):
        files.delete(path)


def forget(files: Files, run: str, trial: str) -> None:
    """Removes the heartbeat of a trial on which the run works no more."""
    files.delete(run_layout.heartbeat(run, trial))


def read(files: Files) -> Heartbeats:
    """({trial: its newest heartbeat}, [that of every run]), fresh ones only, by this machine's clock. It writes nothing.

    `updated` and `news` are in seconds since 1970 by the clock of the file system: the driver's own clock may be wrong. A
    field whose value is of another type than this version writes is left out.
    """
    dates, now = _dates(files), time.time()
    return _read(files, dates, [path for path, date in dates.items() if -BEHIND_SECONDS < now - date < FRESH_SECONDS])


def of_living(files: Files) -> Heartbeats:
    """The same for commands that ask who is at work, by the clock of the storage, which is right on every machine.

    A heartbeat from the future of that clock is watched for half a minute. If it is not written anew, its driver is gone.
    """
    dates = _dates(files)
    now = files.clock() if dates else 0.0
    ahead = {path: date for path, date in dates.items() if is_ahead(date, now)}
    fresh = {path for path, date in dates.items() if now - date < FRESH_SECONDS} - ahead.keys()
    return _read(files, dates, fresh | renewed(files, [layout.HEARTBEATS], ahead))


def _dates(files: Files) -> dict[str, float]:
    return {path: date for path, date in files.dates(layout.HEARTBEATS).items() if run_layout.is_heartbeat(path)}


def _read(files: Files, dates: Mapping[str, float], fresh: Collection[str]) -> Heartbeats:
    trials: dict[str, dict[str, Any]] = {}
    runs = []
    odd: dict[str, str] = {}
    fresh = sorted(fresh)
    for path, content in zip(fresh, files.map(lambda p: documents.find(files, p, odd), fresh), strict=True):
        raw = _json(path, content, odd)
        if not isinstance(raw, dict):
            if content is not None:
                odd.setdefault(path, "is no heartbeat")
            continue
        record = _known(raw, dates[path])
        record["run"], trial = run_layout.heartbeat_of(path)
        if trial is None:
            runs.append(record)
        elif record["updated"] >= trials.get(trial, record)["updated"]:
            trials[trial] = {**record, "trial": trial}
    if odd:
        files.on_odd(odd)
    return trials, runs


def _known(raw: dict[str, Any], date: float) -> dict[str, Any]:
    """The fields of a heartbeat that this version knows, in a file of this date."""
    record = {name: value for name, value in raw.items() if name in FIELDS and FIELDS[name](value)}
    if "metrics" in record:  # of a training that diverges some are not finite
        record["metrics"] = {name: n if _is_number(n) else None for name, n in record["metrics"].items()}
    if "news" in record and "updated" in record:
        record["news"] += date - record["updated"]
    return {**record, "updated": date}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _is_epoch(value: Any) -> bool:
    return isinstance(value, int) and _is_number(value) and value >= 0


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_metrics(value: Any) -> bool:
    return isinstance(value, dict) and all(n is None or isinstance(n, int | float) for n in value.values())


def _is_seconds(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


LARGEST = 1e15  # of a number that can be a time, a loss or a count
FIELDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("sweep", "host", "state", "fault"), _is_text),
    **dict.fromkeys(("updated", "begun", "news", "seconds"), _is_number),
    **dict.fromkeys(("epoch", "epochs", "from_epoch"), _is_epoch),
    "stages": _is_texts,
    "metrics": _is_metrics,
    "replayed": _is_seconds,
    "replays": lambda value: isinstance(value, bool),
}


def _put(files: Files, path: str, record: Mapping[str, Any]) -> None:
    files.put(path, json.dumps({**record, "updated": time.time()}).encode())
