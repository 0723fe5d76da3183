"""Opening a file that a person names: whatever stands there instead is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from memloc.errors import UsageError


def opened(path: Path, wanted: str) -> BinaryIO:
    """The file, open for reading bytes.

    wanted: what would be right, the end of the message.

    Raises:
        UsageError: where there is nothing, a folder, a pipe or a device, or what may not be read.
    """
    try:
        if path.is_dir():
            problem = "is a folder"
        elif path.is_file():  # opening a pipe would wait for ever
            return path.open("rb")
        else:
            problem = "is no regular file" if path.exists() or path.is_symlink() else "no such file"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise UsageError(f"{path}: {problem}; {wanted}")
