"""SQL over a store's tables: DuckDB on pyarrow datasets, read-only and without a way out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from typing import Any

import duckdb
import pyarrow as pa

from memloc import stages
from memloc.analysis.views import VIEWS
from memloc.errors import StoreError, UsageError, nearest
from memloc.store import Commit, Snapshot, Store, schemas, tables

_SPACE = re.compile(r"(?:\s|--[^\n]*|/\*.*?\*/)*", re.DOTALL)  # what may stand before a word: blanks and comments
_SCAN_FAILED = re.compile(r"reading the stream|get_next failed")  # DuckDB's words for an error in an Arrow dataset
_EXPLAIN = re.compile(r"explain\b", re.IGNORECASE)
_OPTIONS = re.compile(r"analyze\b|\(", re.IGNORECASE)
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")

# The table is made of every held-out training's rows: only for a query that names it, or a view that joins it.
TAKES_C_SCORES = re.compile(r"c_scores|leaderboard|forgotten", re.IGNORECASE)


@dataclass(frozen=True)
class Visible:
    """The commits whose rows a query sees, `of_scores` those that make table c_scores."""

    commits: list[Commit]
    of_scores: list[Commit]

    def of(self, table: str) -> list[Commit]:
        return self.of_scores if table == "c_scores" else self.commits


def known_tables() -> schemas.Schemas:
    """{table: schema} of every table that this version of memloc writes; a store may have others."""
    return {**stages.tables(), **schemas.OWN}


def visible(store: Store, snapshot: Snapshot, sweep: str | None, partial: bool) -> Visible:
    """What is in the whole store, or of one sweep's trials and analyses.

    C-scores are the store's in any case: they are of examples, and a sweep's analyses take those that another one made.
    """
    commits = tables.commits_of(snapshot, partial)
    if sweep is None:
        return Visible(commits, commits)
    trials = store.trials_of(sweep)
    wanted = {t["trial"] for t in trials}, {a["analysis"] for t in trials for a in t["analyses"]}
    mine = [c for c in commits if c.trial in wanted[0] and (c.analysis is None or c.analysis in wanted[1])]
    return Visible(mine, commits)


def read_table(store: Store, name: str, sweep: str | None = None, partial: bool = False) -> pa.Table:
    """One whole table, or a view sorted by all its columns.

    Raises:
        UsageError: where there is no such table, view or sweep.
    """
    return store.reading(lambda snapshot: rows_of(store, name, visible(store, snapshot, sweep, partial)))


def rows_of(store: Store, name: str, seen: Visible) -> pa.Table:
    """As `read_table`, of what is visible."""
    if name in VIEWS:
        return select(store, f"SELECT * FROM {name} ORDER BY ALL", seen)
    known = known_tables()
    if name not in (valid := [*tables.names(seen.commits, known), *VIEWS]):
        raise UsageError(f"{name}: no such table or view{nearest(name, valid)}; valid: {', '.join(valid)}")
    return tables.read(store.files, seen.of(name), name, known)


def run_sql(store: Store, sql: str, sweep: str | None = None, partial: bool = False) -> pa.Table:
    """The rows of one SELECT over the store's tables.

    Raises:
        UsageError: where it is anything but one SELECT (or plain EXPLAIN of one), or is not valid SQL. StoreError: where
            what it reads is damaged or cannot be reached.
    """
    return store.reading(lambda snapshot: select(store, sql, visible(store, snapshot, sweep, partial)))


def select(store: Store, sql: str, seen: Visible) -> pa.Table:
    """The rows of one SELECT over what is visible; errors as in `run_sql`."""
    connection = duckdb.connect(":memory:")
    try:
        statement = admit(connection, sql)
        known = known_tables()
        for name in tables.names(seen.commits, known):
            wanted = seen.of(name) if name != "c_scores" or TAKES_C_SCORES.search(sql) else []
            connection.register(name, tables.dataset(store.files, wanted, name, known))
        for name, view in VIEWS.items():
            connection.execute(f"CREATE VIEW {name} AS {view}")
        connection.execute("SET enable_progress_bar=false")  # it would stand among the rows on standard output
        # In this order: each of them would forbid the one before.
        connection.execute("SET temp_directory=''")
        connection.execute("SET python_enable_replacements=false")
        connection.execute("SET enable_external_access=false")
        connection.execute("SET lock_configuration=true")
        rows = connection.sql(statement).to_arrow_table()
        return rows.rename_columns(_distinct(rows.column_names))
    except duckdb.Error as error:
        if _SCAN_FAILED.search(str(error)):
            tables.check(store.files, seen.commits)
            # Whole now: it was set aside and made again meanwhile, or could not be reached. No fault of the query.
            raise StoreError(f"store {store.uri}: {_one_line(error)}") from None
        raise UsageError(f"SQL: {_one_line(error)}") from None
    finally:
        connection.close()


def _distinct(names: list[str]) -> list[str]:
    """`a, b, a` as `a, b, a_1`, so that a row can be a mapping."""
    taken: list[str] = []
    for name in names:
        free = (candidate for n in count() if (candidate := f"{name}_{n}" if n else name) not in taken)
        taken.append(next(free))
    return taken


def admit(connection: Any, sql: str) -> str:
    """The one SELECT, or plain EXPLAIN of one (EXPLAIN ANALYZE would execute it), that `sql` is, ready to run.

    What is returned is what DuckDB's own parser has judged: comments before it are cut off, not interpreted twice.

    Raises:
        UsageError: where it is anything else.
    """
    text = _after_space(sql)
    explain = ""
    if word := _EXPLAIN.match(text):
        explain, text = "EXPLAIN ", _after_space(text[word.end() :])
        if _OPTIONS.match(text):
            raise UsageError("SQL: EXPLAIN with options executes the statement; valid: one SELECT, or EXPLAIN SELECT")
    kinds = [statement.type.name for statement in connection.extract_statements(text)]
    if kinds != ["SELECT"]:
        what = " and ".join(kinds) if kinds else "nothing"
        raise UsageError(f"SQL: {what} is not allowed; valid: one SELECT (or EXPLAIN SELECT); a store is only read")
    return explain + text


def _after_space(text: str) -> str:
    space = _SPACE.match(text)
    return text[space.end() :] if space else text


def _one_line(error: Exception) -> str:
    """DuckDB's message without the source line and its marker."""
    message = " ".join(str(error).split("\n\nLINE ")[0].split())
    if absent := _NO_TABLE.search(message):
        names = (*known_tables(), *VIEWS)
        return f"no table {absent[1]}{nearest(absent[1], names)}; valid: {', '.join(names)}"
    return message
