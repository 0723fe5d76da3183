"""The connection to DuckDB."""

from __future__ import annotations

from typing import Any

import duckdb


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
