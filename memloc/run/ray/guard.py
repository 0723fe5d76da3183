"""Watches what Ray cannot do without. When it is lost, Ray hangs for a minute, prints its logs and leaves processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray._private.worker

LOOK_SECONDS = 0.3
FAMILY_SECONDS = 5.0  # between two looks at which processes there are
PING_SECONDS = 5.0
SILENT_SECONDS = 40.0  # a cluster's GCS may be started again meanwhile; Ray itself gives up after 60 s
NAMES = {"gcs_server": "its GCS", "raylet": "its raylet"}

OnLost = Callable[[str], None]  # called in a thread, with what is lost as a sentence; it ends the program


@contextmanager
def guarded(started_here: bool, on_lost: OnLost) -> Iterator[None]:
    """Meanwhile a thread watches this machine's Ray, or the GCS of the cluster that this process is attached to."""
    over = threading.Event()
    watch = _watch_processes if started_here else _watch_gcs
    thread = threading.Thread(target=watch, args=(over, on_lost), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch_processes(over: threading.Event, on_lost: OnLost) -> None:
    node: Any = ray._private.worker._global_node
    family: list[psutil.Process] = []
    looked = 0.0
    while not over.wait(LOOK_SECONDS):
        dead = [NAMES[kind] for kind, _ in node.dead_processes() if kind in NAMES]
        if dead and not over.is_set():
            _end(node, family)
            on_lost(f"Ray has stopped working, since {dead[0]} has ended (killed from outside, or for lack of memory)")
            return
        if time.monotonic() - looked > FAMILY_SECONDS:
            family, looked = _below(node), time.monotonic()


def _below(node: Any) -> list[psutil.Process]:
    """The processes that Ray's processes have started. When these are gone, nobody knows any more whose they were."""
    family = []
    for _, process in node.live_processes():
        with suppress(psutil.Error):
            family += psutil.Process(process.pid).children(recursive=True)
    return family


def _end(node: Any, family: list[psutil.Process]) -> None:
    """Ends what is left of this machine's Ray. family: its processes as they were a while ago."""
    family = [*family, *_below(node)]
    with suppress(Exception):  # some are gone already
        node.kill_all_processes(check_alive=False, allow_graceful=False)
    for process in family:  # workers end by themselves; the raylet's agents would wait for ever
        with suppress(psutil.Error):
            process.kill()


def _watch_gcs(over: threading.Event, on_lost: OnLost) -> None:
    client: Any = ray._private.worker.global_worker.gcs_client
    heard = time.monotonic()
    while not over.wait(PING_SECONDS):
        try:
            client.internal_kv_exists(b"memloc", None, timeout=PING_SECONDS)
            heard = time.monotonic()
        except Exception:  # of several types in several versions; whatever it is, nothing was heard
            if time.monotonic() - heard > SILENT_SECONDS and not over.is_set():
                on_lost(f"the Ray cluster has not answered for {time.monotonic() - heard:.0f} s")
                return
