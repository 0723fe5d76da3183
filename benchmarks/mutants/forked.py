"""Runs tests in a fork of this process, which has all libraries imported: that takes longer than most tests."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LIBRARIES = (
    "altair", "boto3", "duckdb", "hypothesis", "jaxtyping", "moto.server", "pandas", "pexpect",
    "psutil", "pyarrow.dataset", "pyarrow.parquet", "pydantic", "rich.console", "safetensors.torch", "scipy.stats",
    "sklearn.datasets", "timm", "torch._dynamo", "torchvision", "typer", "yaml",
)  # fmt: skip
ENDED_BY_TIME = -1


def import_libraries() -> None:
    """Imports what the tests import, but for the project itself."""
    for name in LIBRARIES:
        importlib.import_module(name)


class Tests:
    """A run of tests in a folder with a copy of the project. It ends at the first failure, or after `patience` seconds."""

    def __init__(self, tests: Sequence[str], folder: Path, patience: float) -> None:
        self.deadline, self.output = time.monotonic() + patience, folder / "output.txt"
        (folder / "tests.txt").write_text("\n".join(tests), encoding="utf-8")
        self.process = multiprocessing.get_context("fork").Process(target=_run, args=(folder, self.output))
        self.process.start()

    def code(self) -> int | None:
        """pytest's exit code, ENDED_BY_TIME, or None while the tests run."""
        if self.process.exitcode is None and time.monotonic() > self.deadline:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid or 0, signal.SIGKILL)
            self.process.join()
            return ENDED_BY_TIME
        return self.process.exitcode

    def failed(self) -> str:
        """The line of the first test that failed, or the exit code."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line[:200] for line in lines if line.startswith(("FAILED", "ERROR"))), f"exit {self.process.exitcode}")


def _run(folder: Path, output: Path) -> None:
    os.setsid()  # what the tests start ends with them
    os.chdir(folder)
    sink = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(sink, stream)
    os.environ |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    import pytest

    listed = f"@{folder / 'tests.txt'}"
    imported = "ignore::pytest.PytestAssertRewriteWarning"  # of pytest's plugins among the libraries
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", imported]
    code = pytest.main([*options, listed])
    sys.stdout.flush()
    os._exit(int(code))
