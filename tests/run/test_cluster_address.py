"""`--address` where there is no cluster to attach to: one line, within seconds, and nothing is begun."""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.run import cluster
from memloc.run.ray import probe
from tests.commands.test_query import run
from tests.run.clusters import free_port
from tests.waiting import LONG

PROBLEMS = [
    ({"problem": "none"}, "no Ray cluster runs on this machine, and RAY_ADDRESS is not set"),
    ({"problem": "importing", "error": ""}, f"Ray could not be imported to ask there: it took more than {LONG:g} s"),
    ({"problem": "importing", "error": "ImportError: no"}, "Ray could not be imported to ask there: ImportError: no"),
    ({"problem": "silent"}, "no Ray cluster answers there (no connection within seconds)"),
    ({"problem": "silent", "address": "10.0.0.1:6379"}, "no Ray cluster answers there (no connection within seconds)"),
    ({"problem": "no token", "address": "10.0.0.1:6379"}, "there is no token to log in with"),
    ({"problem": "token", "address": "10.0.0.1:6379"}, "the cluster refuses the token"),
    (
        {"problem": "token file", "address": "10.0.0.1:6379", "file": "/no"},
        "the token file /no (RAY_AUTH_TOKEN_PATH) cannot be read, or is empty",
    ),
    ({"problem": "no node", "address": "10.0.0.1:6379"}, "this machine is no node of that cluster"),
    (
        {
            "problem": "version",
            "address": "10.0.0.1:6379",
            "there": {"ray": "2.9.3", "python": "3.10.2"},
            "here": {"ray": "2.60.0", "python": "3.11.7"},
        },
        "the cluster runs Ray 2.9.3 on Python 3.10.2, this program Ray 2.60.0 on Python 3.11.7",
    ),
]


@pytest.mark.parametrize(
    ("known", "message"), PROBLEMS, ids=lambda value: value["problem"] if isinstance(value, dict) else ""
)
def test_what_the_probe_knows_in_words(monkeypatch: pytest.MonkeyPatch, known: dict[str, object], message: str) -> None:
    monkeypatch.setattr(cluster, "_ask", lambda address: known)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address in ("auto", "10.0.0.1:6379"):
        with pytest.raises(UsageError) as raised:
            cluster.resolve(address)
        (line,) = raised.value.problems
        assert line.startswith(f"--address {'auto' if known == {'problem': 'none'} else address}: ")
        assert ("last cluster" in line) == (address == "auto" and known != {"problem": "none"})
        assert message in line


def test_where_an_automatic_address_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ask", lambda address: {"problem": "token", "address": "10.0.0.1:6379"})
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(UsageError, match=r"^--address auto: RAY_ADDRESS names 10.0.0.1:6379: the cluster refuses"):
        cluster.resolve("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    with pytest.raises(UsageError, match=r"^--address auto: 10.0.0.1:6379 is the last cluster that was started on this"):
        cluster.resolve("auto")


def test_a_cluster_is_named_by_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_ask", lambda address: {"address": "10.0.0.1:6379"})
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert [cluster.resolve(a) for a in ("local", "auto", "head:6379")] == ["local", "10.0.0.1:6379", "10.0.0.1:6379"]


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "http://head:8265", "head", "head:", ":6379", "head:0", "head:x", "head:65536"]
)
def test_what_cannot_be_an_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(cluster, "_ask", lambda address: pytest.fail("asked"))
    with pytest.raises(UsageError, match="valid: local, auto, HOST:PORT"):
        cluster.resolve(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=r"^--address auto: RAY_ADDRESS is .*: valid: local, auto, HOST:PORT"):
        cluster.resolve("auto")


class NotFound(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[int]:
    """The port of something that listens and is no Ray."""
    server = ThreadingHTTPServer(("", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of something that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("", 0))
        listening.listen(5)
        yield int(listening.getsockname()[1])


def complaint(address: str) -> tuple[str, float]:
    """(the error, after how many seconds)."""
    began = time.monotonic()
    with pytest.raises(UsageError) as raised:
        cluster.resolve(address)
    return str(raised.value), time.monotonic() - began


def test_whatever_listens_there(web: int, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, since each waits for seconds."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    ports = {web: "does not answer as a Ray cluster", silent: "does not answer as a Ray cluster", free_port(): "refused"}
    said: dict[int, tuple[str, float]] = {}
    threads = [threading.Thread(target=lambda p=p: said.update({p: complaint(f"localhost:{p}")})) for p in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for port, message in ports.items():
        text, seconds = said[port]
        assert text.startswith(f"--address localhost:{port}: ")
        assert message in text
        assert seconds < LONG / 2  # the probe gives up by itself


@pytest.mark.parametrize("source", ["environment", "file"])
def test_a_stale_automatic_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if source == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    else:
        monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
    code, out, err = run(capfd, monkeypatch, "sweep", "demo", "--address", "auto", "--store", str(tmp_path / "store"))
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line.startswith("memloc: --address auto: ")
    assert "no Ray cluster answers there" in line or source == "file"  # a cluster that does run here is found first
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("body", "known"),
    [
        ("raise ImportError('libray.so')", {"problem": "importing", "error": "ImportError: libray.so"}),
        ("time.sleep(60)", {"problem": "importing", "error": ""}),
        ("print('a warning of a library\\n[]\\n7')", {"problem": "importing", "error": ""}),
        ('print(\'{"address": "a:1"}\\nbye\')', {"address": "a:1"}),
    ],
)
def test_a_probe_that_cannot_import_ray_and_lines_that_are_not_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, known: dict[str, object]
) -> None:
    program = tmp_path / "probe.py"
    begin = json.dumps({"problem": "importing"})
    program.write_text(f"import time\nprint({begin!r}, flush=True)\n{body}\n")
    monkeypatch.setattr(cluster, "PROBE", program)
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    assert cluster._ask("a:1") == known


def test_the_probe_says_first_that_it_imports_ray(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError):
        probe.ask("a:1")
    assert json.loads(capsys.readouterr().out) == {"problem": "importing"}


@pytest.mark.parametrize("mode", ["token", "Token", "", "misspelt"])
def test_a_token_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], silent: int, tmp_path: Path, mode: str
) -> None:
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    monkeypatch.setattr(probe.signal, "alarm", lambda seconds: None)
    importlib.reload(probe)
    address = f"127.0.0.1:{silent}"

    def ask() -> dict[str, object]:
        AuthenticationTokenLoader.instance().reset_cache()
        try:
            probe.ask(address)
        finally:
            AuthenticationTokenLoader.instance().reset_cache()
        return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))

    assert ask() == {"problem": "token file", "address": address, "file": str(tmp_path / "none")}
    assert probe.os.environ["RAY_AUTH_MODE"] == (mode if mode.lower() == "token" else "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ask() == {"problem": "no token", "address": address}


def test_the_last_line_of_the_probe_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where it has to be ended."""
    program = tmp_path / "probe.py"
    program.write_text(
        f"import time\nprint({json.dumps({'problem': 'mute', 'address': 'a:1'})!r}, flush=True)\ntime.sleep(60)\n"
    )
    monkeypatch.setattr(cluster, "PROBE", program)
    monkeypatch.setattr(cluster, "PATIENCE", 3.0)
    with pytest.raises(UsageError, match="whatever listens there does not answer as a Ray cluster does"):
        cluster.resolve("a:1")
