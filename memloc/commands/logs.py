"""The log files: one per launch."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memloc.errors import UsageError, without_secrets

LONGEST_NAME = 150  # bytes of a sweep's name in the name of its log


def folder() -> Path:
    """The folder of the logs: MEMLOC_LOGS, else `memloc` in XDG_STATE_HOME (~/.local/state), else a temporary one.

    Raises:
        UsageError: MEMLOC_LOGS names a folder that cannot be written.
    """
    named = os.environ.get("MEMLOC_LOGS")
    if named:
        try:
            return _writable(Path(named).expanduser())
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"MEMLOC_LOGS {named}: cannot be written: {getattr(error, 'strerror', None) or error}"
            ) from None
    try:
        state = os.environ.get("XDG_STATE_HOME", "")
        home = Path(state) if os.path.isabs(state) else Path("~/.local/state").expanduser()  # a relative one is invalid
        return _writable(home / "memloc")
    except (OSError, ValueError, RuntimeError):
        pass  # there is no home, or this user cannot write to it
    try:
        return Path(tempfile.mkdtemp(prefix="memloc-logs-"))
    except OSError as error:
        raise UsageError(f"no folder for the log can be written ({error.strerror}); set MEMLOC_LOGS to one") from None


def _writable(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder


def name(sweep: str, run: str) -> str:
    """The name of a run's log file. A file name has at most 255 bytes, so a long name of a sweep is cut."""
    return f"{sweep.encode()[:LONGEST_NAME].decode(errors='ignore')}-{run}.log"


class _WithoutSecrets(logging.Formatter):
    """Messages and tracebacks, also those of libraries, without the secrets of the URIs in them."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a message in the file."""
        return without_secrets(super().format(record))


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """All messages and warnings go to this file. Warnings of libraries go only there.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"log {path}: cannot be written: {error.strerror}; set MEMLOC_LOGS to another folder") from None
    handler.setFormatter(_WithoutSecrets("%(asctime)s %(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    before, root.handlers = root.handlers, [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.handlers = before
        handler.close()
