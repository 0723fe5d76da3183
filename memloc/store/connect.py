"""From a store's URI to a filesystem, and how long to wait for one that does not answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from memloc.errors import StoreError

SCHEMES = ("file", "s3", "gs", "hdfs")

# (attempts, seconds to connect, seconds to answer) on S3. Work under way outlasts 20 s without a server, but whoever
# mistyped an endpoint learns it within 10 s; pyarrow's own settings take 100 s where packets are lost.
PATIENT, HASTY = (6, 5.0, 15.0), (2, 3.0, 5.0)
GS_SECONDS = 30  # pyarrow's own limit is 15 minutes


def resolve(uri: str) -> tuple[Any, Any, str]:
    """(filesystem to work with, the same for a first look, folder in it).

    Raises:
        StoreError: one line on what is wrong with the URI, and the valid ones.
    """
    schemes = ", ".join(f"{s}://" for s in SCHEMES)
    if not uri.strip():
        raise StoreError(f"store: is empty; name a folder, or one of {schemes}")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _local(uri)
    if scheme not in SCHEMES:
        raise StoreError(f"store {uri}: unknown scheme {scheme}://; valid: a path, {schemes}")
    if not rest.strip("/"):
        raise StoreError(f"store {uri}: names no folder; such as {scheme}://{'' if scheme == 'file' else 'bucket'}/memloc")
    try:
        patient, hasty, root = _remote(scheme, uri)
    except (ValueError, OSError, NotImplementedError) as error:
        raise StoreError(f"store {uri}: cannot be opened: {first_line(error)}") from error
    if not root.strip("/"):
        raise StoreError(f"store {uri}: names no folder; such as {scheme}://bucket/memloc")
    return patient, hasty, root.rstrip("/")


def _local(path: str) -> tuple[Any, Any, str]:
    if match := re.match(rf"({'|'.join(SCHEMES)}):", path):
        raise StoreError(f"store {path}: is neither a path nor a URI; write {match[1]}://… (or ./{path} for a folder)")
    try:
        root = Path(path).expanduser().absolute()
    except RuntimeError as error:  # ~somebody
        raise StoreError(f"store {path}: cannot be opened: {first_line(error)}") from error
    return fs.LocalFileSystem(), fs.LocalFileSystem(), str(root)


def _remote(scheme: str, uri: str) -> tuple[Any, Any, str]:
    if scheme == "s3":
        return _s3(uri)
    if scheme == "gs" and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GS_SECONDS}"
    found, root = fs.FileSystem.from_uri(uri)
    return found, found, root


def _s3(uri: str) -> tuple[Any, Any, str]:
    if "@" in urlsplit(uri).netloc:
        raise StoreError(
            "store s3://…@…: credentials in a URI end up in logs; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead"
        )
    found, root = fs.FileSystem.from_uri(uri)  # an endpoint may stand in AWS_ENDPOINT_URL too
    _, (options,) = found.__reduce__()  # the URI's options, and the bucket's region

    def waiting(attempts: int, connect: float, answer: float) -> Any:
        mine = {
            "allow_delayed_open": True,  # one PUT, instead of a multipart upload for every file however small
            "connect_timeout": connect,
            "request_timeout": answer,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        }
        return fs.S3FileSystem(**{**options, **mine})

    return waiting(*PATIENT), waiting(*HASTY), root


def first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
