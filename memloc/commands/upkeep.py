"""Compacts the store while a sweep runs, so that its readers stay fast for the weeks that it takes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from memloc.commands import store_compact
from memloc.counts import counted

if TYPE_CHECKING:
    from memloc.run.clock import PricedPlan
    from memloc.run.events import Event

log = logging.getLogger(__name__)
EVERY = 1000  # commits of this launch, after which it is looked whether the store has many small files


class Upkeep:
    """An observer of a launch. uri: of the store. notice: shows a line. stopping: whether there is an order to stop.

    The compaction has a process of its own: it takes a gigabyte of a large store, and the driver shall stay small.
    The end of the launch waits for it. An order or an error ends it, which harms nothing at any point.
    Two drivers of one store may both compact; the slower one changes nothing.
    """

    def __init__(self, uri: str, notice: Callable[[str], None], stopping: Callable[[], bool]) -> None:
        self._uri, self._notice, self._stopping = uri, notice, stopping
        self._commits = 0
        self._process: subprocess.Popen[str] | None = None
        self._files = ExitStack()  # where that one writes; a pipe would be full before it ends

    def planned(self, plan: PricedPlan) -> None:
        """Nothing is committed yet."""

    def __call__(self, event: Event) -> None:
        self._commits += event.kind in ("trained", "part")
        if self._process is not None and self._process.poll() is not None:
            self._tell()
        if self._commits >= EVERY and self._process is None:
            self._commits = 0
            self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._process is None:
            return
        try:
            while kind is None and not self._stopping() and self._process.poll() is None:
                time.sleep(0.05)
        finally:  # also if a second order comes meanwhile
            self._process.kill()
            self._tell()

    def _begin(self) -> None:
        """Starts the command. An order to stop is for this process, so the other one has a session of its own."""
        begin = f"import sys; sys.path[:] = {sys.path!r}; from memloc.__main__ import main; main()"
        options = ["store", "compact", "--more-than", str(store_compact.FILES), "--json"]
        try:
            # `_tell` closes them.
            self._out = self._files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115
            self._err = self._files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))  # noqa: SIM115
            self._process = subprocess.Popen(
                [sys.executable, "-c", begin, *options],
                env={**os.environ, "MEMLOC_STORE": self._uri},  # not among the arguments: a URI may have a secret
                stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._err, text=True, start_new_session=True,
            )  # fmt: skip
        except OSError as error:  # too many processes, a full disk: the sweep is as good without
            self._files.close()
            log.warning("compaction: %s", error)

    def _tell(self) -> None:
        """Says what the other process has done, once it has ended."""
        assert self._process is not None
        code, self._process = self._process.wait(), None
        with self._files:
            self._out.seek(0)
            self._err.seek(0)
            out, err = self._out.read(), self._err.read()
        if code or err:
            log.warning("compaction, exit code %s: %s", code, err.strip())
        done = json.loads(out) if not code else None
        if done is not None:
            self._notice(f"the store was compacted: {counted(done['parts'], 'commit')} in {counted(done['files'], 'file')}")
