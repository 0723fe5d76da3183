"""The paths of what a run says of itself, of orders to stop, and of leases. Their forms stand in layout.py."""

from __future__ import annotations

import re

from memloc.store import layout


def run_folder(run: str) -> str:
    """The folder of a run's heartbeats."""
    return f"{layout.HEARTBEATS}/{run}"


def heartbeat(run: str, trial: str) -> str:
    """What a trial of a run is doing."""
    return f"{run_folder(run)}/{trial}.json"


def run_heartbeat(run: str) -> str:
    """What a run is doing as a whole."""
    return f"{run_folder(run)}/run.json"


def is_heartbeat(path: str) -> bool:
    """Does a file below `heartbeats/` lie where a heartbeat would?"""
    return layout.is_own(path) and not is_run_plan(path)


def heartbeat_of(path: str) -> tuple[str, str | None]:
    """(run, trial) of a heartbeat; trial is None for that of the run itself."""
    _, run, name = path.split("/", 2)
    return run, None if name == "run.json" else name.removesuffix(".json")


def run_of(path: str) -> str:
    """The run that a heartbeat or a plan is of."""
    return path.split("/")[1]


def run_plan(run: str) -> str:
    """The work of a run and its prices."""
    return f"{run_folder(run)}/plan.json"


def is_run_plan(path: str) -> bool:
    """Is this path the plan of a run?"""
    return path.endswith("/plan.json")


def is_run(name: str) -> bool:
    """Can a run have this name? Only such a run can be told to stop."""
    return re.fullmatch(layout.RUN, name) is not None


def stop(run: str) -> str:
    """The order to a run to stop."""
    return f"{layout.STOPS}/{run}.json"


def stopped_run(path: str) -> str:
    """The run that an order to stop names."""
    return path.removeprefix(f"{layout.STOPS}/").removesuffix(".json")


def lease(trial: str) -> str:
    """Who is at work on a trial."""
    return f"{layout.LEASES}/{trial}.json"
