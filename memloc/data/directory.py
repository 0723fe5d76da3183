"""Where downloaded data sets lie."""

from __future__ import annotations

import os
from pathlib import Path

from memloc.errors import UsageError


def data_dir(path: str | Path | None = None) -> Path:
    """Where data sets lie: the argument, else MEMLOC_DATA, else ~/.cache/memloc. Only `memloc data fetch` writes there.

    Raises:
        UsageError: where it begins with a home that there is not.
    """
    named = Path(path or os.environ.get("MEMLOC_DATA") or "~/.cache/memloc")
    try:
        return named.expanduser()
    except RuntimeError as error:
        raise UsageError(f"data directory {named}: {error} name one with --data-dir or MEMLOC_DATA") from None
