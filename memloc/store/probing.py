"""Probes: files that show whether a store can be written, and whether other machines see the same store."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass

from memloc.errors import StoreError
from memloc.store import layout
from memloc.store.files import Files

LOOKS, PAUSE = 3, 1.0  # a network file system may show a new file a little late


@dataclass(frozen=True)
class Probe:
    """A probe in a store.

    ahead: by how many seconds the storage's clock was ahead of this machine's when it was written. within: that is known to
    within so many seconds. made: whether its writer has also made the store's folder.
    """

    path: str
    content: bytes
    ahead: float
    within: float
    made: bool


def write(files: Files) -> Probe:
    """Writes a probe.

    Raises:
        StoreError: where that fails.
    """
    made = not files.exists()
    path, content = layout.temporary("probe-"), os.urandom(16)
    begun = time.time()
    files.put(path, content)
    ended = time.time()
    info = files.info(path)
    if info is None:
        raise StoreError(f"store {files.uri}: {path} was written and is not there")
    # An object store gives dates in whole seconds.
    return Probe(path, content, info.written - (begun + ended) / 2, (ended - begun) / 2 + 1.0, made)


def is_seen(files: Files, probe: Probe) -> bool:
    """Whether this machine reads what the writer of the probe has written; raises StoreError where it cannot read."""
    for look in range(LOOKS):
        if files.find(probe.path) == probe.content:
            return True
        if look + 1 < LOOKS:
            time.sleep(PAUSE)
    return False


def remove(files: Files, probe: Probe) -> None:
    """Removes a probe, and the folders that only probes have been in. Failures do not matter: `store gc` removes it too."""
    with suppress(StoreError):
        files.delete(probe.path)
        files.delete_folder(layout.TEMPORARY)
        if probe.made:
            files.delete_folder("")
