"""Where downloaded data sets and the logs lie."""

from __future__ import annotations

import os
from pathlib import Path

from memloc.errors import UsageError


def data_dir(path: str | Path | None = None) -> Path:
    """Where data sets and logs lie: the argument, else MEMLOC_DATA, else ~/.cache/memloc.

    Raises:
        UsageError: where it begins with the home of a user that there is not.
    """
    named = Path(path or os.environ.get("MEMLOC_DATA") or "~/.cache/memloc")
    try:
        return named.expanduser()
    except RuntimeError as error:
        raise UsageError(f"data directory {named}: {error}") from None
