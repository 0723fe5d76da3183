"""Coordinators that wait for the storage cannot report meanwhile. They tell admission, and the driver asks there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from memloc.run.events import Event, Listener
from memloc.run.placement import Assignment
from memloc.store import Patience, Store

LOOK_SECONDS = 2.0  # between two questions of the driver
COORDINATOR = "coordinator"  # the name of the process among those of a trial


def patient_store(assignment: Assignment, admission: Any, trial: str) -> Store:
    """The store as a coordinator opens it: while it waits, admission knows."""
    return Store(assignment.uri, Patience(assignment.patience, partial(_tell, admission, trial)))


def _tell(admission: Any, trial: str, fault: str) -> None:
    admission.waits.remote(trial, COORDINATOR, fault)


def pass_on(admission: Any, listener: Listener, should_stop: Callable[[], bool], over: threading.Event) -> None:
    """Tells the listener of the trials whose coordinators begin to wait, and of those that wait no more, until `over`.

    should_stop: once it is true, they may have given up, so their end is no news.
    """
    told: dict[str, str] = {}
    while not over.wait(LOOK_SECONDS):
        with suppress(RayError, GetTimeoutError):  # a lost actor is replaced
            now: dict[str, str] = ray.get(admission.waiting.remote(COORDINATOR), timeout=LOOK_SECONDS)
            for trial in now.keys() - told.keys():
                listener(Event("waiting", trial, error=now[trial]))
            for trial in told.keys() - now.keys() if not should_stop() else ():
                listener(Event("waiting", trial))
            told = now
