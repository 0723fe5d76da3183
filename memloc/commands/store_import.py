"""`memloc store import`: puts exported trainings into a store."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import options, terminal
from memloc.counts import counted
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.store import Store

EXAMPLES = options.examples(
    "memloc store import best.zip          a store that is not there is made",
    "memloc store import best.zip --store s3://bucket/runs",
)
FILE: Any = typer.Argument(..., metavar="FILE", help="A file that memloc store export wrote.")


def import_trials(file: str = FILE, store: str = options.STORE) -> None:
    """Put exported trainings into a store. All of the file is checked first; what is there already stays."""
    from memloc.run import ids
    from memloc.store import Store, bundle, importing
    from memloc.store.opening import store_uri

    opened = Store(store_uri(store))
    with bundle.opened(file) as content:
        for packed in content.trials.values():
            ids.check(packed.training, packed.analyses)
        opened.files.check_usable()
        snapshot = opened.snapshot()
        _refuse_later(opened, snapshot.later, snapshot.unreadable)
        _refuse_alive(opened, content.trials)
        what = importing.plan(opened, content, snapshot)
        named = _named(content.trials, content.records)
        if not what.anything:
            print(terminal.plain(f"nothing to do: {opened.uri} has all of {file}: {named}"))
            return
        importing.carry_out(opened, content, what)
    written = f"{counted(what.analyses, 'analysis')}, {counted(what.checkpoints, 'checkpoint')}"
    print(terminal.plain(f"imported {named} into {opened.uri}: {written}"))


def _named(trials: Collection[str], records: Collection[str]) -> str:
    """What a bundle has, in a few words."""
    from memloc.store import layout

    sweeps = sorted({layout.sweep_of(path) for path in records})
    of = f" of {', '.join(sweeps)}" if sweeps else ""
    return f"{counted(len(trials), 'trial')}{of}" if sweeps or len(trials) > 1 else f"trial {next(iter(trials))}"


def _refuse_later(store: Store, later: set[str], unreadable: dict[str, str]) -> None:
    """Raises StoreError where a later memloc wrote to the store: it may have parts of this trial."""
    from memloc.errors import StoreError

    for path in sorted(later):
        raise StoreError(f"store {store.uri}: {path} {unreadable[path]}")


def _refuse_alive(store: Store, trials: Collection[str]) -> None:
    """Raises UsageError if a run is at work on one of the trials: it writes the same checkpoints."""
    from memloc.analysis.run_status import runs_on
    from memloc.store import heartbeats

    beats, runs = heartbeats.of_living(store.files)
    for trial, beat in beats.items():
        for run in runs_on(runs, {trial: beat}, ()) if trial in trials else ():
            where = f"run {run['run']} is at work on it on {run.get('host') or 'an unknown machine'}"
            raise UsageError(f"trial {trial}: {where}; import it when the run has ended")
