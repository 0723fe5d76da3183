"""`memloc doctor` on this machine: what it prints, its exit codes, and what it leaves alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from memloc import data
from memloc.data import load
from tests.commands.test_query import run
from tests.conftest import TINY
from tests.data.small import serving, small
from tests.data.test_fetch import closed_port
from tests.run.programs import SMALL


def test_this_machine(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run(capfd, monkeypatch, "doctor", "--store", str(tmp_path / "store"))
    assert (code, err) == (0, "")
    *lines, last = out.splitlines()
    assert last == "all is fine"
    assert [line.split("  ")[0] for line in lines] == ["ok   "[:2]] * 7
    assert not (tmp_path / "store").exists()
    assert "memloc.run.ray" not in sys.modules or "starts Ray" not in out


def test_a_sweeps_needs(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    at = ("--store", str(tmp_path / "store"), "--json")
    code, out, err = run(capfd, monkeypatch, "doctor", str(tmp_path / "tiny.yaml"), *at)
    assert (code, err) == (0, "")
    says = {check["check"]: check["says"] for check in json.loads(out)["checks"]}
    assert says["data"] == "digits on the driver's machine, which hands them to the nodes"
    assert "; the sweep writes up to " in says["disk of the store"]
    assert says["places"] == "all fit here"
    code, out, _ = run(capfd, monkeypatch, "doctor", str(tmp_path / "tiny.yaml"), "threads=512", *at)
    (wrong,) = [check for check in json.loads(out)["checks"] if check["state"] == "wrong"]
    assert (code, json.loads(out)["ok"], wrong["check"]) == (1, False, "places")
    assert wrong["says"].startswith("threads: 512 is more than any node's CPUs")


@pytest.mark.parametrize("reachable", [True, False])
def test_data_that_are_not_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    load.cache_clear()
    with serving("mnist") as server:
        monkeypatch.setitem(data.SOURCES, "mnist", small("mnist", [server.url if reachable else closed_port()]))
        options = ("--store", str(tmp_path / "store"), "--data-dir", str(tmp_path / "data"))
        code, out, _ = run(capfd, monkeypatch, "doctor", str(SMALL), "dataset=mnist", "subset=20", *options)
    assert code == 1
    (line,) = [line for line in out.splitlines() if line.startswith("wrong")]
    assert "memloc data fetch mnist" in line
    assert ("this machine reaches 127.0.0.1" in line) is reachable
    assert ("fetch it on another one" in line) is not reachable


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["demos"], 2, "no such sweep (did you mean 'demo'?)"),
        (["demo", "nois=3"], 2, "nois: unknown field (did you mean 'noise'?)"),
        (["noise=0.1"], 2, "name a sweep first"),
        (["--address", "somewhere"], 2, "valid: local, auto, HOST:PORT"),
        (["--address", "127.0.0.1:1"], 2, "no Ray cluster answers there"),
        (["--store", "ftp://x/y"], 3, "unknown scheme ftp://"),
    ],
)
def test_bad_input(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, message: str
) -> None:
    ended, out, err = run(capfd, monkeypatch, "doctor", *arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert message in err


def test_a_store_that_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything else is looked at nevertheless."""
    code, out, err = run(capfd, monkeypatch, "doctor", "demo", "--store", "/proc/nowhere/store")
    assert (code, err) == (3, "")
    assert [line.split()[1] for line in out.splitlines() if line.startswith("wrong")] == ["store"]
    assert "disk of Ray" in out
