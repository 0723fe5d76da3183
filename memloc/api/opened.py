"""A store that is open for reading: its tables and views, SQL, the paper's claims, its trials."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.resolvable import left_out, resolve_trainings
from memloc.analysis.sweep_records import trials_of
from memloc.api import notebook
from memloc.api.arguments import absolute_folder, check_sweep, check_text, wanted_values
from memloc.api.trial import Trial, TrialList
from memloc.errors import UsageError, check_path
from memloc.models.architectures import TRAINING, resolved
from memloc.store import Store
from memloc.store.opening import existing


def open_store(uri: str | os.PathLike[str] | None = None, *, data_dir: str | os.PathLike[str] | None = None) -> OpenStore:
    """Opens an existing store for reading.

    Args:
        uri: a folder's path, or a file://, s3://, gs:// or hdfs:// URI; None: MEMLOC_STORE, else ./memloc-store.
        data_dir: where the data sets lie that the trials were trained on; None: MEMLOC_DATA, else ~/.cache/memloc. Only
            `Trial.data`, `Trial.model` and `Trial.mask` look there.

    Raises:
        StoreError: where there is no store, or the URI does not name one. UsageError: where an argument is no path.
    """
    check_path("data_dir", data_dir)
    return OpenStore(existing(uri, "open_store(URI)"), data_dir)


class OpenStore:
    """A store, for reading. Every call sees what is committed at that moment."""

    def __init__(self, store: Store, data_dir: str | os.PathLike[str] | None = None) -> None:
        self._store, self._data_dir = store, data_dir

    @property
    def uri(self) -> str:
        """The store as it was named."""
        return self._store.uri

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenStore) and other._store.files.address == self._store.files.address

    def __hash__(self) -> int:
        return hash(self._store.files.address)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._store.files.address, absolute_folder(self._data_dir))

    def __repr__(self) -> str:
        return f"OpenStore({self.uri!r})"  # nothing is read: a store may be far away, or gone

    def _repr_html_(self) -> str:
        return notebook.store_html(self._store)

    def table(self, name: str, *, sweep: str | None = None, partial: bool = False) -> pa.Table:
        """A whole table or view, as docs/tables.md describes them.

        Args:
            name: such as "rewind" (a table) or "gradient_layers" (a view).
            sweep: only the trials and analyses of this sweep, NAME or NAME@sha8; None: of the whole store.
            partial: the rows of incomplete analyses too.

        Returns:
            A table's rows in the order in which they were computed (layers in network order), a view's sorted by all
            columns from left to right.

        Raises:
            UsageError: where there is no such table, view or sweep. StoreError: where a file is damaged or missing.
        """
        check_text("table", name, "the name of a table or view, such as 'rewind'")
        check_sweep(sweep, partial)
        return read_table(self._store, name, sweep, partial)

    def pandas(self, name: str, *, sweep: str | None = None, partial: bool = False) -> pd.DataFrame:
        """A whole table or view as a DataFrame: `table`, converted (NULL becomes NaN or None)."""
        frame: pd.DataFrame = self.table(name, sweep=sweep, partial=partial).to_pandas()
        return frame

    def sql(self, query: str, *, sweep: str | None = None, partial: bool = False) -> pd.DataFrame:
        """The rows of one SELECT over the tables and views (DuckDB's SQL); the arguments as in `table`.

        Raises:
            UsageError: where it is not one valid SELECT, or has a date or time that Python has not (the year 10000).
        """
        check_text("query", query, "one SELECT, such as 'SELECT * FROM trials'")
        check_sweep(sweep, partial)
        rows = run_sql(self._store, query, sweep, partial)
        try:
            frame: pd.DataFrame = rows.to_pandas()
        except ValueError as error:  # such as a date after the year 9999
            raise UsageError(f"SQL: pandas has no such value: {error}; make it text, such as CAST(x AS VARCHAR)") from None
        return frame

    def claims(self, *, sweep: str | None = None, paper: str = "maini2023") -> pd.DataFrame:
        """A paper's claims judged on the store: a row per number, columns as in `memloc.papers.judgement.Judgement`.

        Args:
            sweep: as in `table`.
            paper: a folder in memloc/papers/.

        Raises:
            UsageError: where there is no such sweep or paper.
        """
        check_sweep(sweep)
        check_text("paper", paper, "the name of a paper, such as 'maini2023'")
        from memloc.papers import registry
        from memloc.papers.judgement import COLUMNS
        from memloc.papers.judging import judge

        judged = judge(self._store, registry.paper(paper), sweep)
        return pd.DataFrame([[getattr(j, name) for name in COLUMNS] for j in judged], columns=list(COLUMNS))

    def trial(self, prefix: str) -> Trial:
        """The committed trial whose id begins with `prefix`.

        Raises:
            UsageError: where none or several do, or this version of memloc cannot resolve its configuration.
        """
        check_text("trial", prefix, "the id of a trial, or the digits with which it begins")
        commit = self._store.snapshot().training(prefix)
        try:
            return Trial(self._store, commit, resolved(**commit.config), self._data_dir)
        except UsageError as error:
            raise UsageError(left_out(self.uri, {commit.trial: "; ".join(error.problems)})) from None

    def trials(self, *, sweep: str | None = None, **fields: Any) -> TrialList:
        """The committed trials whose configuration has these values, in the order of their ids.

        Args:
            sweep: only those of this sweep, NAME or NAME@sha8; None: of the whole store.
            fields: values of training fields (`memloc sweep --fields` lists them), such as dataset="digits"; a list,
                a set, an array or any other collection of values means any of them, such as noise=[0.1, 0.2]. None means
                that the training does not use the field, such as p_gen=None.

        Raises:
            UsageError: for a field that there is not, a value that it cannot have, or a sweep that there is not.

        Warns:
            MemlocWarning: naming the trainings that this version of memloc cannot resolve; they are left out.
        """
        check_sweep(sweep)
        wanted = _wanted(fields)
        trainings = self._store.snapshot().trainings()
        if sweep is not None:
            trainings = {t["trial"]: trainings[t["trial"]] for t in trials_of(self._store, sweep) if t["trial"] in trainings}
        configs = resolve_trainings(self._store, {trial: trainings[trial].config for trial in sorted(trainings)})
        fitting = [trial for trial, config in configs.items() if _fits(config.flat(), wanted)]
        return TrialList(Trial(self._store, trainings[i], configs[i], self._data_dir) for i in fitting)


def _reopened(address: str, data_dir: str | None) -> OpenStore:
    """A store that another process has pickled. It need not be there yet."""
    return OpenStore(Store(address), data_dir)


def _wanted(fields: Mapping[str, Any]) -> dict[str, Collection[Any]]:
    """{field: the wanted values}, checked. An error names every problem."""
    wanted: dict[str, Collection[Any]] = {}
    problems = []
    for name, value in fields.items():
        if problem := TRAINING.check_name(name):
            problems.append(f"{name}: {problem}")
            continue
        try:
            checked = [(None, "") if v is None else TRAINING.check(name, v) for v in wanted_values(name, value)]
        except UsageError as error:
            problems += error.problems
            continue
        problems += [f"{name}: {wrong}" for _, wrong in checked if wrong]
        wanted[name] = [taken for taken, wrong in checked if not wrong]
    if problems:
        raise UsageError(*problems)
    return wanted


def _fits(config: Mapping[str, Any], wanted: Mapping[str, Collection[Any]]) -> bool:
    """Has a training one of the wanted values in every field? None: it does not use the field."""
    return all(config.get(name) in taken for name, taken in wanted.items())
