"""The connection to DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

# An exception in a stream that DuckDB reads is text in DuckDB's own error, with the traceback. This is its last line.
_IN_A_STREAM = re.compile(r"Python exception: .*^KeyboardInterrupt$", re.DOTALL | re.MULTILINE)


def locked() -> Any:
    """A connection that touches neither files nor settings."""
    connection = duckdb.connect(":memory:")
    # It would appear among the rows on standard output. Jupyter without ipywidgets has none, and refuses to change that.
    if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() != [(False,)]:
        connection.execute("SET enable_progress_bar=false")
    # The order matters: each of them would forbid the one before.
    connection.execute("SET temp_directory=''")
    connection.execute("SET python_enable_replacements=false")
    connection.execute("SET enable_external_access=false")
    connection.execute("SET lock_configuration=true")
    return connection


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C in a call of DuckDB is a KeyboardInterrupt, as everywhere else.

    DuckDB looks for signals during a query. It drops what their handlers raise, and raises a RuntimeError of its own.
    """
    try:
        yield
    except (RuntimeError, duckdb.Error) as error:
        if str(error) == "Query interrupted" or _IN_A_STREAM.search(str(error)):
            raise KeyboardInterrupt from None
        raise
