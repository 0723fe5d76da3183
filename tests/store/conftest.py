"""Stores on a disk and on a real S3 server over HTTP, with the same tests for both."""

from __future__ import annotations

import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

from memloc.run.plan import Plan
from memloc.store import Store
from tests.conftest import TINY, planned
from tests.faults.case import credentials
from tests.store import servers
from tests.waiting import LONG

BUCKET = "memloc"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of an S3 server with an empty bucket; the credentials are in the environment meanwhile."""
    port = servers.free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in credentials().items():
            patch.setenv(name, value)
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        patch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
        command = servers.command(port, tmp_path_factory.mktemp("s3"))
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, server)
            client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
            _make_bucket(client)
            client.close()
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait()


def _make_bucket(client: Any) -> None:
    """A server may listen before it can do anything."""
    deadline = time.monotonic() + LONG
    while True:
        try:
            client.create_bucket(Bucket=BUCKET)
            return
        except ClientError:
            assert time.monotonic() < deadline, "the S3 server makes no bucket"
            time.sleep(0.5)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LONG
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None, "the S3 server ended"
            assert time.monotonic() < deadline, "the S3 server does not listen"
            time.sleep(0.05)


def s3_uri(server: str, folder: str = "") -> str:
    """A folder of the bucket, or one in a new bucket: a listing costs the server time for every key of a bucket."""
    bucket = BUCKET
    if not folder:
        bucket = folder = uuid.uuid4().hex
        urlopen(Request(f"http://{server}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}/{folder}?endpoint_override={server}&scheme=http"


@pytest.fixture(params=["disk", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may be made; nothing is there yet."""
    if request.param == "disk":
        return str(tmp_path / "a store")
    return s3_uri(request.getfixturevalue("s3_server"))


@pytest.fixture
def store(uri: str) -> Store:
    return Store(uri)


@pytest.fixture
def plan(store: Store, tiny: Path, tmp_path: Path) -> Plan:
    """The plan of the sweep `tiny`. The store is a copy of a finished one."""
    for path in sorted(tiny.rglob("*")):
        if path.is_file():
            store.files.put(path.relative_to(tiny).as_posix(), path.read_bytes())
    return planned(tmp_path, TINY)
