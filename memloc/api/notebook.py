"""Small HTML tables of a store, a trial and a list of trials, for notebooks. All text in them is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from memloc.analysis.superseded import current
from memloc.analysis.sweep_status import counts
from memloc.analysis.trial_list import differing_fields
from memloc.analysis.trial_states import STATES
from memloc.config import written
from memloc.counts import counted
from memloc.store import Store, records

if TYPE_CHECKING:
    from memloc.config import TrainConfig

SHOWN = 100  # rows of a list of trials


def store_html(store: Store) -> str:
    """A store's sweeps with their states, and its tables with their rows."""
    snapshot = store.snapshot()
    by_name: dict[str, list[records.SweepRecord]] = {}
    for record in records.read_sweeps(store.files):
        by_name.setdefault(record.name, []).append(record)
    states = counts(store, {name: current(contents, snapshot).trials for name, contents in by_name.items()}, snapshot)
    sweeps = [{"sweep": name, **count} for name, count in states.items()]
    tables = [{"table": table, "rows": rows} for table, (rows, _) in snapshot.tables().items()]
    return (
        f"<p>store <code>{escape(store.uri)}</code>: {counted(len(snapshot.trainings()), 'training')}</p>"
        + _table(sweeps, ["sweep", *STATES])
        + _table(tables, ["table", "rows"])
    )


def trial_html(trial: str, config: TrainConfig) -> str:
    """A trial's id and its configuration; fields that it does not use are left out."""
    fields = [{"field": name, "value": value} for name, value in used_fields(config).items()]
    return f"<p>trial <code>{escape(trial)}</code></p>" + _table(fields, ["field", "value"])


def trials_html(trials: Sequence[tuple[str, TrainConfig]]) -> str:
    """One row per trial: its id, data set and model, and the fields in which the trials differ."""
    rows = [{"trial": trial, **used_fields(config)} for trial, config in trials]
    differing = list(dict.fromkeys(["trial", "dataset", "model", *differing_fields([c for _, c in trials])]))
    more = f"<p>… and {len(rows) - SHOWN} more</p>" if len(rows) > SHOWN else ""
    return (
        f"<p>{counted(len(rows), 'trial')}</p>"
        + _table([{n: r.get(n) for n in differing} for r in rows[:SHOWN]], differing)
        + more
    )


def used_fields(config: TrainConfig) -> dict[str, Any]:
    """{field: value} of the fields that a training uses."""
    return {name: value for name, value in config.flat().items() if value is not None}


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    cells = [["" if row[c] is None else written(row[c], quote=False) for c in columns] for row in rows]
    with pd.option_context("display.max_colwidth", None):
        html: str = pd.DataFrame(cells, columns=list(columns)).to_html(index=False, escape=True, border=0)
    return html if rows else ""
