"""A secret in the name of a store, or of a cluster, reaches no error, warning, log, record or report."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import SimpleNamespace

import pytest

from memloc.commands import closing, logs, terminal
from memloc.errors import MemlocWarning, StoreError, UsageError, error_line, without_secrets
from memloc.run import attempts, cluster
from memloc.run.log_targets import LogTarget
from memloc.run.ray import tracking
from memloc.run.ray.driver import Relay
from memloc.run.ray.tracking import Tracker
from memloc.store import Files, Store, layout, records, uri
from tests.commands.test_query import run
from tests.conftest import TINY

SECRET = "hunter2"
WITH_SECRET = [
    f"gs://user:{SECRET}@bucket/folder",
    f"gs://{SECRET}@bucket/folder",
    f"gs://user:{SECRET}/with/slash@bucket/folder",
    f"gs://user%3A{SECRET}@bucket/folder",
    f"gs://bucket/folder?access_token={SECRET}",
    f"s3://bucket/folder?secret_key={SECRET}",
    f"s3://bucket/folder?region=x&session_token={SECRET}",
    f"s3://bucket/folder?%73ecret_key={SECRET}",
    f"s3://bucket/folder?endpoint_override=http://user:{SECRET}@127.0.0.1:9000",
    f"s3://key:{SECRET}@bucket/folder",
    f"s3://{SECRET}@bucket/folder",
    f"hdfs://user:{SECRET}@host:9000/folder",
    f"S3://key:{SECRET}@bucket/folder",
    f"ftp://user:{SECRET}@host/folder",
    f"s3:/key:{SECRET}@bucket/folder",
    f"s3:key:{SECRET}@bucket/folder",
    f"gcs://user:{SECRET}@bucket/folder?a b",
    f"file://user:{SECRET}@host/folder",
]


@pytest.mark.parametrize("name", WITH_SECRET)
def test_a_store_with_a_secret_is_refused_without_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMLOC_LOGS", str(tmp_path))
    for arguments in (["status"], ["query", "SELECT 1"], ["sweep", "demo", "--dry-run"], ["report"]):
        code, out, err = run(capfd, monkeypatch, *arguments, "--store", name)
        assert (code, out) == (3, "")
        assert SECRET not in err
        assert "store " in err
    with pytest.raises(StoreError) as raised:
        Store(name)
    assert SECRET not in repr(raised.value)
    assert not [path for path in tmp_path.rglob("*") if SECRET in path.read_text()]


@pytest.mark.parametrize(
    "name",
    [
        "s3://bucket/mail@home/a:b",
        "s3://bucket/folder?endpoint_override=127.0.0.1:9000&scheme=http",
        "gs://anonymous@bucket/folder",
        "gs://bucket/folder?project_id=mine",
        "hdfs://user@host:9000/folder",
        "hdfs://host:9000/a@b",
        "file:///a:b@c",
        "/folder:with@signs",
    ],
)
def test_what_has_no_secret_is_taken_and_named_as_it_is(name: str) -> None:
    scheme = uri.scheme_of(name)
    if scheme is not None:
        uri.check(name, scheme)
    assert without_secrets(f"store {name}: does not exist") == f"store {name}: does not exist"


def test_an_address_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"redis://:{SECRET}@host:6379/0")
    for address in ("auto", f"ray://user:{SECRET}@host:10001", f"http://host:8265?token={SECRET}"):
        with pytest.raises(UsageError) as raised:
            cluster.resolve(address)
        assert SECRET not in str(raised.value)


LOG = f"mlflow:http://me:{SECRET}@127.0.0.1:9"


def test_a_log_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Its line goes to the terminal and to the log file."""

    def refused(target: LogTarget, sweep: str) -> None:
        raise ConnectionError(f"cannot reach {target.where}")

    monkeypatch.setattr(tracking, "tune_logger", refused)
    why = "--log-to mlflow:http://…@127.0.0.1:9: ConnectionError: cannot reach http://…@127.0.0.1:9"
    problem = Tracker(LogTarget(*LOG.split(":", 1)), "demo", {}, str(tmp_path)).close()  # type: ignore[arg-type]
    assert problem == f"{why}; the sweep went on without this log"
    assert SECRET not in caplog.text


def test_standard_error_and_the_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes there: the command that goes on, a library's message, its traceback, a bug's."""
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", terminal.Messages(said))
    monkeypatch.setattr(sys, "argv", ["memloc", "sweep", "demo", "--log-to", LOG])
    closing.interrupted()
    sys.stderr.writelines([f"at {LOG}\n"])
    with logs.logging_to(tmp_path / "run.log"):
        logging.getLogger("urllib3").warning("retry of %s", LOG)
        logging.getLogger("py.warnings").warning("%s is slow", LOG)
        try:
            raise OSError(f"{LOG}: no route")
        except OSError:
            logging.getLogger("mlflow").exception("failed")
            traceback.print_exc()
    logged = (tmp_path / "run.log").read_text()
    for text, times in ((said.getvalue(), 3), (logged, 3)):
        assert SECRET not in text
        assert text.count("mlflow:http://…@127.0.0.1:9") == times, text
    assert "To go on: " in said.getvalue()


def test_a_sweep_with_a_secret_among_its_arguments(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program itself, from its beginning to an order to stop. Its store, its log and its words have no secret."""

    def run_training(*arguments: object) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        logging.getLogger("mlflow").error("lost %s", LOG)
        raise OSError(f"cannot reach {LOG}")

    monkeypatch.setattr(attempts, "run_training", run_training)
    monkeypatch.setattr("memloc.commands.sweep._logs", lambda *_: ())  # such logs are of sweeps on Ray
    monkeypatch.setenv("MEMLOC_LOGS", str(tmp_path / "logs"))
    (tmp_path / "tiny.yaml").write_text(TINY)
    where = ("--store", str(tmp_path / "store"), "--data-dir", str(tmp_path), "--executor", "inline", "--log-to", LOG)
    code, out, err = run(capfd, monkeypatch, "sweep", str(tmp_path / "tiny.yaml"), *where)
    assert code == 130
    assert "--log-to mlflow:http://…@127.0.0.1:9" in err
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"lost mlflow:http://" in content for content in written.values())
    assert [path for path, content in written.items() if SECRET.encode() in content] == []
    assert SECRET not in out + err


def test_a_coordinator_that_is_lost(tmp_path: Path) -> None:
    """Tune's file has the text of the error as the library wrote it."""
    file, told = tmp_path / "error.txt", list[str]()
    file.write_text(f"Failure # 1 (occurred at 2026-11-28)\nTraceback\nOSError: cannot reach {LOG}\n")
    trial = SimpleNamespace(config={"trial": "a"}, error_file=str(file))
    Relay(lambda event: told.append(event.error), lambda *record: told.append(record[2])).on_trial_error(0, [], trial)
    assert told[:2] == ["OSError: cannot reach mlflow:http://…@127.0.0.1:9"] * 2


def test_what_a_library_says(tmp_path: Path) -> None:
    """An endpoint of the environment stands in a library's own message."""
    said = f"cannot reach http://user:{SECRET}@127.0.0.1:9000/bucket?X-Amz-Signature={SECRET}&b=1: refused"
    assert error_line(OSError(said)) == "OSError: cannot reach http://…@127.0.0.1:9000/bucket?X-Amz-Signature=…&b=1: refused"
    store = Store(str(tmp_path))
    with pytest.warns(MemlocWarning) as warned:
        store.warn("x", lambda: said)
    assert SECRET not in str(warned[0].message)
    failure = records.Failure("1" * 16, "2" * 16, "train", f"Traceback\nOSError: {said}", f"OSError: {said}")
    records.record_failure(store.files, failure)
    (path,) = Files(str(tmp_path)).listing(layout.FAILURES)
    assert SECRET.encode() not in store.files.get(path)
