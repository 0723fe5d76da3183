"""A file under its name is whole at every moment: while others overwrite it, and after its writer was killed."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time

from memloc.store import Files
from tests.run.prepared import ROOT, launch

SIZE = 12_000_000  # several parts of a multipart upload
KILLS = 5
WRITER = "import sys; from tests.store.test_whole import overwrite; overwrite(sys.argv[1], int(sys.argv[2]))"


def overwrite(uri: str, first: int) -> None:
    """Writes one file again and again, each time full of another byte."""
    files = Files(uri)
    print("ready", flush=True)
    for n in itertools.count(first):
        files.put("one", bytes([n % 256]) * SIZE)


def version(content: bytes | None) -> bytes:
    """Of which byte a content is full; nothing for no file."""
    if content is None:
        return b""
    assert len(content) == SIZE
    assert content.count(content[:1]) == SIZE
    return content[:1]


def test_a_file_is_whole_at_every_moment(uri: str) -> None:
    files, moments, seen = Files(uri), random.Random(time.time_ns()), set()
    for n in range(KILLS):
        writer = launch(["-c", WRITER, uri, str(50 * n)], os.environ, cwd=ROOT)
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            before = version(files.find("one"))
            while version(files.find("one")) == before:  # the server may be slow to begin with
                pass
            end = time.monotonic() + moments.uniform(0.1, 0.5)
            while time.monotonic() < end:
                seen.add(version(files.find("one")))
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            seen.add(version(files.find("one")))
        finally:
            writer.kill()
            writer.wait()
            writer.close()
    assert len(seen) >= 3  # it did change meanwhile
    left = set(files.listing("")) - {"one"}
    assert all(path.startswith("tmp/") for path in left)
    assert len(left) <= KILLS
