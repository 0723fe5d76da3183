"""Reports of runs about themselves. Only `memloc status` reads them; nothing else depends on them."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from memloc.store import layout
from memloc.store.files import Files

# A driver writes a heartbeat about every 10 s. An older one than this belongs to a driver that is gone.
FRESH_SECONDS = 60.0


def write(files: Files, run: str, trial: str, record: Mapping[str, Any]) -> None:
    """Writes what a trial of a run is doing."""
    _put(files, layout.heartbeat(run, trial), {**record, "run": run, "trial": trial})


def write_run(files: Files, run: str, record: Mapping[str, Any]) -> None:
    """Writes what the run as a whole is doing."""
    _put(files, layout.run_heartbeat(run), {**record, "run": run})


def write_plan(files: Files, run: str, record: Mapping[str, Any]) -> None:
    """Writes the work of the run and its prices, once."""
    files.put(layout.run_plan(run), json.dumps(dict(record)).encode())


def read_plan(files: Files, run: str) -> dict[str, Any] | None:
    """The plan of a run; None if there is none, or if it cannot be read."""
    try:
        plan: dict[str, Any] = json.loads(files.find(layout.run_plan(run)) or b"")
    except ValueError:
        return None
    return plan


def clear(files: Files, run: str) -> None:
    for path in files.listing(f"{layout.HEARTBEATS}/{run}"):
        files.delete(path)


def read(files: Files) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """({trial: its newest heartbeat}, [that of every run]), fresh ones only."""
    trials: dict[str, dict[str, Any]] = {}
    runs = []
    paths = [path for path in sorted(files.listing(layout.HEARTBEATS)) if not layout.is_run_plan(path)]
    for content in files.map(files.find, paths):
        try:
            record = json.loads(content or b"")
        except ValueError:
            continue
        if time.time() - record["updated"] >= FRESH_SECONDS:
            continue
        if "trial" not in record:
            runs.append(record)
        elif record["updated"] >= trials.get(record["trial"], {"updated": 0.0})["updated"]:
            trials[record["trial"]] = record
    return trials, runs


def _put(files: Files, path: str, record: Mapping[str, Any]) -> None:
    files.put(path, json.dumps({**record, "updated": time.time()}).encode())
