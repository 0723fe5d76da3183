"""What is said when Ray itself is lost. With a real Ray: test_local_ray_slow.py."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from configparser import ConfigParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray._private.worker

from memloc.commands.logs import logging_to
from memloc.errors import MemlocError, RayLostError, StoreError, UsageError
from memloc.run.placement import Resources
from memloc.run.ray import connect, guard
from tests.waiting import LONG, wait_until


class Node:
    """A machine's Ray: its processes that have ended, and whether all were ended."""

    def __init__(self) -> None:
        self.dead: list[tuple[str, Any]] = []
        self.killed = False

    def dead_processes(self) -> list[tuple[str, Any]]:
        return self.dead

    def live_processes(self) -> list[tuple[str, Any]]:
        return [("raylet", SimpleNamespace(pid=2**30))]

    def kill_all_processes(self, check_alive: bool, allow_graceful: bool) -> None:
        self.killed = True
        raise RuntimeError("some are gone already")


@pytest.mark.parametrize(("kind", "said"), [("gcs_server", "its GCS"), ("raylet", "its raylet"), ("log_monitor", "")])
def test_a_process_of_this_machine(monkeypatch: pytest.MonkeyPatch, kind: str, said: str) -> None:
    """The others, such as the one that collects logs, can be done without."""
    node, told, heard = Node(), [], threading.Event()
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    monkeypatch.setattr(guard, "LOOK_SECONDS", 0.01)
    with guard.guarded(True, lambda what: (told.append(what), heard.set())[0]):
        time.sleep(0.1)
        assert not told
        node.dead.append((kind, None))
        assert heard.wait(LONG if said else 0.2) == bool(said)
    assert node.killed == bool(said)
    assert all(f"since {said} has ended" in what for what in told)


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while it may: a GCS is started again. By a clock of the test's own."""
    now, answers, asked, told = [0.0], [True], list[bytes](), list[str]()

    def exists(key: bytes, namespace: None, timeout: float) -> bool:
        asked.append(key)
        if not answers[0]:
            raise ConnectionError("no answer")
        return False

    def asked_again() -> None:
        before = len(asked)
        wait_until(lambda: told or len(asked) > before + 2)  # so two were asked and answered meanwhile

    client = SimpleNamespace(internal_kv_exists=exists)
    monkeypatch.setattr(ray._private.worker, "global_worker", SimpleNamespace(gcs_client=client))
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(guard, "PING_SECONDS", 0.01)
    heard = threading.Event()
    with guard.guarded(False, lambda what: (told.append(what), heard.set())[0]):
        for _ in range(2):
            asked_again()
            answers[0] = False
            now[0] += guard.SILENT_SECONDS - 1
            asked_again()
            answers[0] = True
            asked_again()
        assert not told
        answers[0] = False
        now[0] += guard.SILENT_SECONDS + 1
        assert heard.wait(LONG)
    assert told == ["the Ray cluster has not answered for 41 s"]


def test_what_ray_reports_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Raylets report on standard output otherwise, also in the middle of --json, and Tune prints tracebacks."""
    reports = logging.getLogger("ray")
    before = ray._private.worker.print_to_stdstream, reports.handlers[:], reports.propagate
    try:
        with logging_to(tmp_path / "log"):
            connect._messages_to_log()
            ray._private.worker.print_to_stdstream({"lines": ["a worker died"], "pid": "raylet"}, ignore_prefix=False)
            logging.getLogger("ray.tune.execution").error("Trial task failed")
    finally:
        ray._private.worker.print_to_stdstream, reports.handlers[:], reports.propagate = before
    assert capfd.readouterr() == ("", "")
    assert [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()] == [
        "memloc INFO (raylet) a worker died",
        "ray.tune.execution ERROR Trial task failed",
    ]


def test_ray_that_does_not_come_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Ray raises then, such as a bare Exception if its raylet was killed."""

    def fails(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because …")

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    with pytest.raises(
        RayLostError, match=r"^Ray cannot be started on this machine \(The current node timed out during startup.\)"
    ):
        connect._start(Resources(cpus=1, gpus=0), "run", None)


@pytest.fixture
def service() -> ConfigParser:
    """The service of docs/clusters.md."""
    page = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")
    parsed = ConfigParser(interpolation=None)
    parsed.read_string(page.partition("```ini\n")[2].partition("```")[0])
    return parsed


def test_a_service_goes_on_after_ray_was_lost(service: ConfigParser) -> None:
    """But not after what another start would not mend. A raylet that the kernel ends for its memory needs no hand."""
    ends = {int(code) for code in service["Service"]["RestartPreventExitStatus"].split()}
    assert ends == {MemlocError.exit_code, UsageError.exit_code, StoreError.exit_code, 130}
    assert RayLostError.exit_code not in {0, *ends}


def test_a_service_gives_up_if_ray_can_never_start(service: ConfigParser) -> None:
    """The limit is reached, though each start waits for the restart, imports and waits for Ray."""
    assert service["Unit"]["StartLimitIntervalSec"] == "1h"
    start = int(service["Service"]["RestartSec"]) + 120
    assert 1 < int(service["Unit"]["StartLimitBurst"]) < 3600 / start


def test_the_exit_code_when_ray_is_lost() -> None:
    """The process ends at once, whatever its threads wait for."""
    code = "import sys; from memloc.commands.closing import lost; lost('Ray has stopped working')"
    done = subprocess.run([sys.executable, "-c", code, "sweep", "demo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("memloc: Ray has stopped working; everything committed is kept. To go on: ")
