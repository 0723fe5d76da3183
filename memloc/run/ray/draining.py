"""The order to stop, for every process of a run. The flag is the existence of a named actor.

So the flag costs nothing until it is raised. The actor is on the driver's node: with another node it could be lost, and the
order would be taken back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray


@ray.remote(num_cpus=0)
class Flag:
    """An actor that does nothing; its name is the message."""


def _flag_name(run: str) -> str:
    return f"memloc-drain-{run}"


def is_draining(run: str) -> bool:
    """Has the order to stop been given?"""
    try:
        ray.get_actor(_flag_name(run))
    except ValueError:
        return False
    return True


def raise_flag_when(run: str, should_stop: Callable[[], bool], finished: threading.Event) -> None:
    """Raises the flag as soon as `should_stop` says so; a thread of the driver runs this until `finished`."""
    while not finished.wait(0.2):
        if should_stop():
            here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
            _flag.append(Flag.options(name=_flag_name(run), resources=here).remote())  # type: ignore[attr-defined]
            return


_flag: list[Any] = []  # keeps the flag raised
