"""Who is at work on a trial, so that two drivers on one store share the work.

A lease is a hint. Whoever works without one does what somebody else does too, and commits the same bits. So nothing depends
on a lease for correctness, and two drivers that take one at the same moment may both get it.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from memloc.errors import StoreError
from memloc.store import documents, layout, run_layout
from memloc.store.files import Files
from memloc.store.future_dates import Watch, is_ahead
from memloc.store.local import Info

# The holder renews a lease about every 10 s. An older one, by the storage's own clock, is of a holder that is gone.
FRESH_SECONDS = 60.0
LARGEST = 1 << 16  # bytes
UNKNOWN_HOST = "an unknown machine"

Text = Annotated[str, Field(max_length=255)]


@dataclass(frozen=True)
class Holder:
    """A driver. run: the name of its run. host: its machine. process: says on its machine whether it is alive."""

    run: Text
    host: Text = ""
    process: Text = ""


@cache
def _adapter() -> TypeAdapter[Holder]:
    return TypeAdapter(Holder)


def this_process(run: str) -> Holder:
    """This process as the holder of the leases of a run."""
    host = "".join(c for c in platform.node() if c.isprintable())[:255]
    return Holder(run, host or UNKNOWN_HOST, f"{_kernel()} {os.getpid()} {_begun(os.getpid())}")


def _kernel() -> str:
    """Processes with the same one see each other's numbers. It is empty where nobody knows."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}".replace(" ", "")
    except OSError:
        return ""


def _begun(process: int) -> str:
    """When a process of this machine began; empty if there is none, or if it has ended and its parent does not know yet."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    state, *more = stat.rpartition(")")[2].split()  # from field 3 on; the name in brackets may have blanks
    return "" if state in "ZX" else more[18]


def _is_gone(holder: Holder) -> bool:
    """Whether a holder is a process of this machine that has ended. A killed driver's leases need not grow old."""
    kernel, _, rest = holder.process.partition(" ")
    number, _, begun = rest.partition(" ")
    if not kernel or kernel != _kernel() or not number.isdecimal() or len(number) > 10:
        return False
    return _begun(int(number)) != begun


def taken_by_other(files: Files, trial: str, holder: Holder | None) -> str:
    """Takes the lease of a trial: "", or the host of another driver who has it. Without a holder nothing is taken.

    A storage that fails gives "" at once: the work itself will meet the fault, and wait. So does a place that can hold no
    lease, such as a file in the place of the folder: a lease is only a hint.
    """
    try:
        with files.patience.suspended():
            other = None if holder is None else take(files, trial, holder)
    except StoreError:
        return ""
    return (other.host or UNKNOWN_HOST) if other else ""


def take(files: Files, trial: str, holder: Holder) -> Holder | None:
    """Takes the lease of a trial: None, or another driver who is at work on it."""
    other = held(files, trial)
    if other is not None and other.run != holder.run:
        return other
    renew(files, trial, holder)
    now = _read(files, trial)  # another driver may have written in the same moment
    return now if now is not None and now.run != holder.run else None


def held(files: Files, trial: str) -> Holder | None:
    """The driver that is at work on a trial, or None. A lease from the future counts: one look cannot tell."""
    info = files.info(run_layout.lease(trial))
    return _holders(files, {} if info is None else {trial: info}, Watch()).get(trial)


def held_among(files: Files, trials: Collection[str], watch: Watch | None = None) -> dict[str, Holder]:
    """{trial at which a driver is at work: the driver}, by one listing and one look at the clock.

    watch: what the earlier looks of this process have seen. A lease from the future of the storage's clock that has not
    changed for the time of a lease is removed, so that the processes that work for this driver need not watch it too.
    """
    infos = files.infos(layout.LEASES)
    asked = {trial: infos[path] for trial in trials if (path := run_layout.lease(trial)) in infos}
    return _holders(files, asked, watch or Watch())


def _holders(files: Files, infos: Mapping[str, Info], watch: Watch) -> dict[str, Holder]:
    """The same of leases, of which the dates are known."""
    if not infos:
        return {}
    now = files.clock()
    fresh = [trial for trial, info in infos.items() if now - info.written < FRESH_SECONDS]
    for trial in [trial for trial in fresh if is_ahead(infos[trial].written, now)]:
        path = run_layout.lease(trial)
        if watch.seconds(path, infos[trial].written) >= FRESH_SECONDS and files.info(path) == infos[trial]:
            files.delete(path)
            fresh.remove(trial)
    found = zip(fresh, files.map(lambda trial: _read(files, trial), fresh), strict=True)
    return {trial: holder for trial, holder in found if holder is not None and not _is_gone(holder)}


def renew(files: Files, trial: str, holder: Holder) -> None:
    """Says that the driver is still at work on the trial."""
    files.put(run_layout.lease(trial), json.dumps(asdict(holder)).encode())


def release(files: Files, trial: str, holder: Holder) -> None:
    """Ends the lease, unless another driver has it by now."""
    now = _read(files, trial)
    if now is not None and now.run == holder.run:
        files.delete(run_layout.lease(trial))


def _read(files: Files, trial: str) -> Holder | None:
    path = run_layout.lease(trial)
    try:
        content = files.find(path, LARGEST)
        if content is None:
            return None
        holder = documents.checked(_adapter(), content)
        if not holder.host.isprintable():  # it is printed on a terminal
            raise ValueError("its host is no name")
    except ValueError as error:
        files.on_odd({path: f"is no lease ({error})"})
        return None
    return holder
