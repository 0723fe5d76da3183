"""Where downloaded data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from memloc.errors import UsageError, check_path


def data_dir(path: str | os.PathLike[str] | None = None) -> Path:
    """Where data sets lie: the argument, else MEMLOC_DATA, else ~/.cache/memloc. Only `memloc data fetch` writes there.

    Raises:
        UsageError: it is a file, it begins with a home that does not exist, or it is no path.
    """
    check_path("data directory", path)
    named = Path(path or os.environ.get("MEMLOC_DATA") or "~/.cache/memloc")
    try:
        folder = named.expanduser()
    except RuntimeError as error:
        raise UsageError(f"data directory {named}: {error} name another folder, or set MEMLOC_DATA") from None
    if os.path.isfile(folder):  # Path.is_file raises if a folder above it cannot be read
        raise UsageError(f"data directory {folder}: is a file; name the folder in which data sets lie")
    return folder
