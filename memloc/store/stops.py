"""Orders to stop, through the store: whoever can write there can end a run in good order, from any machine.

An order names the run. So it never ends a later run of the same sweep.
"""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from memloc.store import documents, layout, run_layout
from memloc.store.files import Files

LARGEST = 1 << 16  # bytes of an order; a driver reads one with every heartbeat
UNKNOWN_HOST = "an unknown machine"
STOPPING = "stopping"  # the state of a run that has its order


@dataclass(frozen=True)
class Order:
    """An order to a run to stop. host: where it was given. when: seconds since 1970, by the clock of that machine."""

    run: str
    host: Annotated[str, Field(max_length=255)]
    when: documents.Seconds


@cache
def _adapter() -> TypeAdapter[Order]:
    return TypeAdapter(Order)


def give(files: Files, run: str) -> None:
    """Tells a run to stop."""
    host = "".join(c for c in platform.node() if c.isprintable())[:255]
    content = json.dumps(asdict(Order(run, host or UNKNOWN_HOST, time.time())))
    files.put(run_layout.stop(run), content.encode())


def find(files: Files, run: str) -> Order | None:
    """The order to a run, or None; one small read. `files.on_odd` is told of what is no order."""
    odd: dict[str, str] = {}
    order = _read(files, run_layout.stop(run), odd)
    if odd:
        files.on_odd(odd)
    return order


def read(files: Files) -> dict[str, Order]:
    """{run: the order to it} of all that lie in the store. `files.on_odd` is told of what is no order."""
    odd: dict[str, str] = {}
    paths = layout.own(files.listing(layout.STOPS, recursive=False))
    orders = files.map(lambda path: _read(files, path, odd), paths)
    found = {run_layout.stopped_run(path): order for path, order in zip(paths, orders, strict=True) if order is not None}
    if odd:
        files.on_odd(odd)
    return found


def withdraw(files: Files, run: str) -> None:
    """Removes the order to a run, if there is one."""
    files.delete(run_layout.stop(run))


def _read(files: Files, path: str, odd: dict[str, str]) -> Order | None:
    try:
        content = files.find(path, LARGEST)
        if content is None:
            return None
        order = documents.checked(_adapter(), content)
        if order.run != run_layout.stopped_run(path):
            raise ValueError(f"it names the run {order.run!r}")
        if not order.host.isprintable():  # it is printed on the terminal of the run
            raise ValueError("its host is no name")
    except ValueError as error:
        odd[path] = f"is no order to stop ({error})"
        return None
    return order
