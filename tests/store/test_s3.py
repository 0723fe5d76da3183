"""What goes over the wire to S3, on a server in this process that notes every request and fails those that a test names."""

from __future__ import annotations

import gc
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from benchmarks import big_store
from memloc.errors import StoreError
from memloc.run.pending import pending
from memloc.store import Commit, Files, Store, commits, filesystem, layout
from memloc.store.compaction import compact
from tests.store.conftest import BUCKET, s3_uri


class Wire:
    """The server. requests: "METHOD path?query" in order of arrival. fails: which of them are answered by 500."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.fails: Callable[[str], bool] = lambda request: False
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}".rstrip("?")
        self.requests.append(request)
        if self.fails(request):
            if length := int(environ.get("CONTENT_LENGTH") or 0):
                environ["wsgi.input"].read(length)
            elif environ.get("HTTP_TRANSFER_ENCODING"):
                environ["wsgi.input"].read()
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        found: Iterable[bytes] = self._moto(environ, start_response)
        return found

    def uri(self) -> str:
        """Of a folder in which nothing is yet."""
        return s3_uri(self.address, uuid.uuid4().hex)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, *args: object) -> None:
        """Nothing: the tests read `requests`."""


@pytest.fixture
def wire(s3_server: str) -> Iterator[Wire]:
    server = Wire()
    try:
        client = boto3.client("s3", endpoint_url=f"http://{server.address}")
        client.create_bucket(Bucket=BUCKET)
        client.close()
        server.requests.clear()
        yield server
    finally:
        server.close()


def methods(wire: Wire) -> list[str]:
    """Of the requests so far, which are forgotten."""
    found = [request.split()[0] for request in wire.requests]
    wire.requests.clear()
    return found


def test_a_file_is_one_put(wire: Wire) -> None:
    files = Files(wire.uri())
    files.put("a/b", b"x" * 4_000_000)
    assert methods(wire) == ["PUT", "HEAD"]  # and a look at its size
    assert len(files.get("a/b")) == 4_000_000
    assert methods(wire) == ["HEAD", "GET"]


def test_an_upload_that_fails_publishes_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow completes an upload even when its stream is only dropped; what was there before must stay."""
    monkeypatch.setattr(filesystem, "PATIENT", (1, 3.0, 5.0))
    files = Files(wire.uri())
    large = b"x" * 21_000_000  # three parts
    for path, content, failing in (
        ("one", b"x" * 1000, "PUT"),
        ("first part", large, "partNumber=1"),
        ("second part", large, "partNumber=2"),
        ("last part", large, "partNumber=3"),
    ):
        for before in (None, b"old"):
            if before:
                files.put(path, before)
            wire.fails = lambda request, failing=failing: failing in request  # type: ignore[misc]
            with pytest.raises(StoreError, match=f"{path} cannot be written") as raised:
                files.put(path, content)
            assert "\n" not in str(raised.value)
            del raised
            gc.collect()
            wire.fails = lambda request: False
            assert files.find(path) == before


def test_a_short_outage_is_outlasted(wire: Wire) -> None:
    files, failures = Files(wire.uri()), [2]

    def fails(request: str) -> bool:
        failures[0] -= 1
        return failures[0] >= 0

    wire.fails = fails
    files.put("a", b"1")
    failures[0] = 1
    assert files.get("a") == b"1"
    failures[0] = 1
    assert files.listing("") == {"a": 1}
    assert failures[0] < 0


def test_listings_of_more_than_a_page(wire: Wire) -> None:
    files = Files(wire.uri())
    bucket, _, folder = files.root.partition("/")
    backend = s3_backends["123456789012"]["aws"]
    expected = {f"commits/{n % 7}/{n:05d}.json": n % 3 for n in range(2100)}
    for path, size in expected.items():
        backend.put_object(bucket, f"{folder}/{path}", b"x" * size)
    assert files.listing("commits") == expected
    assert methods(wire) == ["GET"] * 3
    assert len(files.listing("commits/3")) == 300


def test_commits_are_read_once(wire: Wire) -> None:
    """They never change: a second look costs two listings, of manifests and of commits, and what is new."""
    store = Store(wire.uri())
    part = [Commit(f"{n:016x}", "e" * 16, "a" * 16, "evaluate", {}, n, 3, {}) for n in range(3)]
    for commit in part[:2]:
        commits.publish(store.files, commit)
    methods(wire)
    assert len(store.snapshot().commits) == 2
    assert sorted(methods(wire)) == ["GET"] * 4 + ["HEAD"] * 2
    commits.publish(store.files, part[2])
    methods(wire)
    assert len(store.snapshot().commits) == 3
    assert methods(wire) == ["GET", "GET", "HEAD", "GET"]


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_endpoint_from_the_environment(wire: Wire, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, f"http://{wire.address}")
    Files(f"s3://{BUCKET}/here").put("a", b"1")
    assert methods(wire) == ["PUT", "HEAD"]
    monkeypatch.setenv(variable, "http://127.0.0.1:1")  # what the URI says comes first
    assert Files(s3_uri(wire.address, "here")).get("a") == b"1"


def test_an_endpoint_may_be_an_address_or_a_url(wire: Wire) -> None:
    for n, endpoint in enumerate((f"{wire.address}&scheme=http", f"http://{wire.address}", f"http%3A%2F%2F{wire.address}")):
        files = Files(f"s3://{BUCKET}/endpoints?endpoint_override={endpoint}")
        files.check_usable()
        files.put(str(n), b"")
        assert len(files.listing("")) == n + 1


def test_a_plan_of_finished_trainings_asks_for_listings(wire: Wire, tmp_path: Path) -> None:
    """The same requests, whatever the number of trainings: none for a commit, and none for pruned checkpoints."""
    requests = []
    for trainings in (2, 5):
        folder = tmp_path / str(trainings)
        plan = big_store.make(folder, commits=10 * trainings, flip_rows=40 * trainings)
        compact(Files(str(folder)))
        store = Store(wire.uri())
        for kept in (layout.CHECKPOINTS, layout.GENERATIONS, layout.MANIFESTS):
            for path in Files(str(folder)).listing(kept):
                store.files.put(path, (folder / path).read_bytes())
        wire.requests.clear()
        works = pending(plan, store, store.snapshot(), None)
        assert len(works) == trainings
        assert not any(work.anything for work in works)
        assert not [request for request in wire.requests if "checkpoints/" in request.partition("?")[0]]
        requests.append(len(wire.requests))
    assert requests[0] == requests[1]
