"""A secret in the name of a store, or of a cluster, reaches no error, warning, log, record or report."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc.errors import MemlocWarning, StoreError, UsageError, error_line, without_secrets
from memloc.run import cluster
from memloc.store import Files, Store, layout, records, uri
from tests.commands.test_query import run

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
