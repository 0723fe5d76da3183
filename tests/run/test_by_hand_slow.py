"""The scripts of docs/clusters.md for a cluster by hand: a head and a worker on this machine, the doctor, and a sweep."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from memloc.store import Store
from tests.run.clusters import free_port
from tests.run.programs import environment, kill_tree
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"


def script(name: str, home: Path, port: int) -> str:
    """The script of this name, with the folders, the machine and the port of this test."""
    (text,) = [b for b in re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S) if f"# {name}:" in b]
    for there, here in (("/shared", str(home)), ("HEAD", "127.0.0.1"), ("6379", str(port))):
        text = text.replace(there, here)
    # In the foreground, small, and beside other clusters of this machine.
    more = "--block --num-cpus=1 --object-store-memory=100000000 --node-ip-address=127.0.0.1"
    head = f"--include-dashboard=false --temp-dir={home}" if name == "head.sh" else ""
    return text.replace("ray start", f"exec ray start {more} {head}")


@contextmanager
def node(text: str, environ: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as file:
        process = subprocess.Popen(["bash", "-c", text], env=environ, stdout=file, stderr=file)
        try:
            wait_until(lambda: b"Ray runtime started" in log.read_bytes(), 120)
            yield
        finally:
            kill_tree(process)


def test_the_scripts_of_the_page() -> None:
    with ExitStack() as ends:
        home = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="mlh")))  # short: Ray puts sockets below it
        (home / "me").mkdir()
        port = free_port()
        environ = environment(home, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("head.sh", "worker.sh"):
            ends.enter_context(node(script(name, home, port), environ, home / f"{name}.log"))
        assert stat.S_IMODE((home / "me" / "ray-token").stat().st_mode) == 0o600
        small = "sweep demo --only block=retraining epochs=4 retrain.epochs=1"
        text = script("run.sh", home, port).replace("sweep demo", small)
        done = subprocess.run(["bash", "-c", text], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 nodes and the driver read and write it" in done.stdout
        assert len(Store(str(home / "runs" / "demo")).snapshot().trainings()) == 1
