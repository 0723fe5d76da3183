"""From a store's name to a filesystem, and how long to wait for one that does not answer."""

from __future__ import annotations

from typing import Any

from pyarrow import fs

from memloc.errors import StoreError, error_line
from memloc.store import uri as uris

# (attempts, seconds to connect, seconds to answer) on S3. Work under way outlasts 20 s without a server. A mistyped
# endpoint is an error within 10 s. pyarrow's own settings take 100 s if packets are lost.
PATIENT, HASTY = (6, 5.0, 15.0), (2, 3.0, 5.0)
GS_SECONDS = 30  # pyarrow's own limit is 15 minutes


def resolve(store: str) -> tuple[Any, Any, str]:
    """(filesystem to work with, the same for a first look, folder in it).

    Raises:
        StoreError: one line on what is wrong with the name, and what to write.
    """
    scheme = uris.scheme_of(store)
    if scheme is None:
        return fs.LocalFileSystem(), fs.LocalFileSystem(), str(uris.local_folder(store))
    uris.check(store, scheme)
    try:
        patient, hasty, root = _remote(scheme, store)
    except (ValueError, OSError, NotImplementedError) as error:
        raise StoreError(f"store {store}: cannot be opened: {error_line(error, with_type=False)}") from error
    return patient, hasty, root.rstrip("/")


def located(store: str, filesystem: Any) -> str:
    """The absolute name of a store, with the region of its bucket. Whoever opens it without would ask the network for it.

    filesystem: that of the store.
    """
    name = uris.absolute(store)
    if not isinstance(filesystem, fs.S3FileSystem) or "region=" in name.partition("?")[2]:
        return name
    _, (options,) = filesystem.__reduce__()
    region = options["region"]  # empty with an endpoint of one's own, which has no regions
    return f"{name}{'&' if '?' in name else '?'}region={region}" if region else name


def _remote(scheme: str, uri: str) -> tuple[Any, Any, str]:
    if scheme == "s3":
        return _s3(uri)
    if scheme == "gs" and "retry_limit_seconds=" not in uri:
        uri += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GS_SECONDS}"
    filesystem, root = fs.FileSystem.from_uri(uri)
    return filesystem, filesystem, root


def _s3(uri: str) -> tuple[Any, Any, str]:
    filesystem, root = fs.FileSystem.from_uri(uri)  # an endpoint may stand in AWS_ENDPOINT_URL too
    _, (options,) = filesystem.__reduce__()  # the URI's options, and the bucket's region

    def waiting(attempts: int, connect: float, answer: float) -> Any:
        mine = {
            "allow_delayed_open": True,  # one PUT, instead of a multipart upload for every file however small
            "connect_timeout": connect,
            "request_timeout": answer,
            "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
        }
        return fs.S3FileSystem(**{**options, **mine})

    return waiting(*PATIENT), waiting(*HASTY), root
