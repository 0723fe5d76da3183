"""A reader of one snapshot of a store: one locked DuckDB connection for all its queries.

A table is registered when a query first names it. A view also registers the tables that it reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from itertools import count

import duckdb
import pyarrow as pa

from memloc import stages
from memloc.analysis.admitted_sql import Mentions, Statement, admit, mentions
from memloc.analysis.atlas import atlas, declared, of_tables
from memloc.analysis.connection import interruptible, locked
from memloc.analysis.stage_versions import warn_of_versions
from memloc.analysis.sweep_records import trials_of
from memloc.analysis.views import VIEWS, with_scores
from memloc.analysis.written import as_arrow
from memloc.errors import StoreError, UsageError, nearest
from memloc.stages.detection.scores import SCORES
from memloc.stages.plugins import NAME
from memloc.store import Snapshot, Store, schemas, tables
from memloc.store.shown import Shown

_SCAN_FAILED = re.compile(r"reading the stream|get_next failed")  # DuckDB's words for an error in an Arrow dataset
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")


@dataclass(frozen=True)
class Visible:
    """The commits whose rows a query sees. score_commits: the commits behind table c_scores. is_part: another reader sees
    more of the same, and it warns of several versions.
    """

    commits: Shown
    score_commits: Shown
    is_part: bool = False

    def behind(self, table: str) -> Shown:
        """The commits that the rows of a table come from."""
        return self.score_commits if table == "c_scores" else self.commits


def known_tables() -> schemas.Schemas:
    """{table: schema} of every table that this version of memloc writes; a store may have others."""
    return {**stages.tables(), **schemas.OWN}


def visible(store: Store, snapshot: Snapshot, sweep: str | None, partial: bool) -> Visible:
    """The visible commits of the whole store, or of one sweep's trials and analyses.

    C-scores are always those of the whole store, because a sweep's analyses take the scores that another sweep made.
    """
    commits = snapshot.shown(partial)
    if sweep is None:
        return Visible(commits, commits)
    trials = trials_of(store, sweep)
    wanted = {t["trial"] for t in trials}, {a["analysis"] for t in trials for a in t["analyses"]}
    return Visible(commits.of_trials(*wanted), commits)


class Reader:
    """The visible part of a store, by table and by SQL. All answers come from the same commits."""

    def __init__(self, store: Store, seen: Visible) -> None:
        self.store, self.seen = store, seen
        self._known = known_tables()
        self.tables = tables.names(seen.commits, self._known)
        self._names = {name.lower(): name for name in (*self.tables, *VIEWS)}
        self._connection = locked()
        self._there: set[str] = set()

    def close(self) -> None:
        """Closes the connection. The reader answers nothing after that."""
        self._connection.close()

    def table(self, name: str) -> pa.Table:
        """One whole table, or a view sorted by all its columns.

        Raises:
            UsageError: where there is no such table or view. StoreError: where a file is not what was committed.
        """
        if name in VIEWS:
            return self.sql(f"SELECT * FROM {name} ORDER BY ALL")
        self._check(name)
        self._warn_of_versions(name)
        return tables.read(self.store.files, self.seen.behind(name), name, self._known)

    def sql(self, text: str) -> pa.Table:
        """The rows of one SELECT.

        Raises:
            UsageError: it is not one statement that only reads, or it is not valid SQL. StoreError: the files are damaged or
                cannot be reached.
        """
        try:
            with interruptible():
                rows = self._answer(admit(self._connection, text))
            return rows.rename_columns(_distinct(rows.column_names))
        except duckdb.Error as error:
            if _SCAN_FAILED.search(str(error)):
                tables.check(self.store.files, self.seen.commits, None, self._known)
                # The files are whole now. They were made again meanwhile, or could not be reached. The query is not wrong.
                raise StoreError(f"store {self.store.uri}: {self._one_line(error)}") from None
            raise UsageError(f"SQL: {self._one_line(error)}") from None

    def _answer(self, statement: Statement) -> pa.Table:
        named = mentions(self._connection, statement.select)
        if named is None:
            self._register(self._names.values())
        elif named.catalog:
            return self._of_catalog(statement, named)
        else:
            self._register(self._named(named))
        for _ in self._names:  # a text within the SQL may be SQL itself and name more tables: query('FROM trials')
            try:
                return self._as_arrow(statement.sql)
            except duckdb.CatalogException as error:
                absent = _NO_TABLE.search(str(error))
                name = self._names.get(absent[1].lower()) if absent else None
                if name is None or name in self._there:
                    raise
                self._register([name])
        raise AssertionError("unreachable")

    def _as_arrow(self, sql: str) -> pa.Table:
        return as_arrow(self._connection.sql(_without_end(sql)))

    def _named(self, named: Mentions) -> list[str]:
        return [name for lower, name in self._names.items() if lower in named.names]

    def _register(self, names: Iterable[str]) -> None:
        """Registers tables, and views with the tables that they read, if they are not registered yet."""
        for name in names:
            if name in self._there:
                continue
            self._there.add(name)
            try:
                self._make(name)
            except BaseException:  # an interruption, or a fault of the storage: the next query tries again
                self._there.discard(name)
                raise

    def _make(self, name: str) -> None:
        if name not in VIEWS:
            self._warn_of_versions(name)
            rows = tables.dataset(self.store.files, self.seen.behind(name), name, self._known)
            self._connection.register(name, rows)
            return
        sql = self._view(name)
        parsed = mentions(self._connection, sql)
        self._register(self._named(parsed) if parsed else self._names.values())
        self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    def _warn_of_versions(self, table: str) -> None:
        if table not in schemas.OWN and not self.seen.is_part:
            warn_of_versions(self.store, self.seen.behind(table), table)

    def _view(self, name: str) -> str:
        """The SQL of a view, with what plugins have added."""
        if name == "leaderboard":
            return with_scores(VIEWS[name], self._own_scores())
        if name == "atlas":
            others = {table: self.schema(table) for table in self.tables if table not in self._known}
            return atlas([*declared(), *of_tables(others)])
        return VIEWS[name]

    def _own_scores(self) -> list[str]:
        """The scores of plugins that analyses of the store have."""
        if "scores" not in self.seen.commits.tables():
            return []
        compared = (config.get("scores") for config in self.seen.commits.of_stage("detection").said("config"))
        listed = {name for names in compared if isinstance(names, list) for name in names if isinstance(name, str)}
        return sorted(name for name in listed - {score.name for score in SCORES} if NAME.fullmatch(name))

    def _of_catalog(self, statement: Statement, named: Mentions) -> pa.Table:
        """Answers which tables and columns exist. All tables are registered, but only the named ones with their rows."""
        with closing(Reader(self.store, self.seen)) as other:
            for name in self.tables:
                if name.lower() not in named.names:
                    other._connection.register(name, self.schema(name).empty_table())
                    other._there.add(name)
            other._register(self._names.values())
            return other._as_arrow(statement.sql)

    def _check(self, name: str) -> None:
        if name not in self.tables:
            valid = [*self.tables, *VIEWS]
            raise UsageError(f"{name}: no such table or view{nearest(name, valid)}; valid: {', '.join(valid)}")

    def schema(self, name: str) -> pa.Schema:
        """The columns of a table and their types; raises UsageError where there is no such table."""
        self._check(name)
        return self._known[name] if name in self._known else tables.dataset(
            self.store.files, self.seen.behind(name), name, self._known
        ).schema  # fmt: skip

    def _one_line(self, error: Exception) -> str:
        """DuckDB's message without the source line and its marker."""
        message = " ".join(str(error).split("\n\nLINE ")[0].split())
        if absent := _NO_TABLE.search(message):
            names = list(self._names.values())
            return f"no table {absent[1]}{nearest(absent[1], names)}; valid: {', '.join(names)}"
        return message


def _without_end(sql: str) -> str:
    """The statement without the semicolons and comments behind it: DuckDB puts it into another one, to cast its columns."""
    text = sql.encode()
    end = len(text)
    for place, kind in reversed(duckdb.tokenize(sql)):
        if kind != duckdb.token_type.comment and text[place : place + 1] != b";":
            break
        end = place
    return text[:end].decode()


def _distinct(names: list[str]) -> list[str]:
    """`a, b, a` as `a, b, a_1`, so that a row can be a mapping."""
    taken: list[str] = []
    for name in names:
        free = (candidate for n in count() if (candidate := f"{name}_{n}" if n else name) not in taken)
        taken.append(next(free))
    return taken
