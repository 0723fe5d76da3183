"""`memloc store import`: puts an exported training into a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import options
from memloc.counts import counted
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.store import Store

EXAMPLES = options.examples(
    "memloc store import best.zip          a store that is not there is made",
    "memloc store import best.zip --store s3://bucket/runs",
)
FILE: Any = typer.Argument(..., metavar="FILE", help="A file that memloc store export wrote.")


def import_trial(file: str = FILE, store: str = options.STORE) -> None:
    """Put an exported training into a store. All of the file is checked first; what is there already stays."""
    from memloc.run import ids
    from memloc.store import Store, bundle, importing
    from memloc.store.opening import store_uri

    opened = Store(store_uri(store))
    with bundle.opened(file) as content:
        trial = content.training.trial
        ids.check(content.training, content.analyses)
        opened.files.check_usable()
        snapshot = opened.snapshot()
        _refuse_later(opened, snapshot.later, snapshot.unreadable)
        _refuse_alive(opened, trial)
        what = importing.plan(opened, content, snapshot)
        if not what.anything:
            print(f"nothing to do: trial {trial} is in {opened.uri}, with all that {file} has of it")
            return
        importing.carry_out(opened, content, what)
    analyses = {commit.analysis for commit in what.commits.values()} - {None}
    written = f"{counted(len(analyses), 'analysis')}, {counted(len(what.weights), 'checkpoint')}"
    print(f"imported trial {trial} into {opened.uri}: {written}")


def _refuse_later(store: Store, later: set[str], unreadable: dict[str, str]) -> None:
    """Raises StoreError where a later memloc wrote to the store: it may have parts of this trial."""
    from memloc.errors import StoreError

    for path in sorted(later):
        raise StoreError(f"store {store.uri}: {path} {unreadable[path]}")


def _refuse_alive(store: Store, trial: str) -> None:
    """Raises UsageError if a run is at work on the trial: it writes the same checkpoints."""
    from memloc.analysis.run_status import runs_on
    from memloc.store import heartbeats

    beats, runs = heartbeats.read(store.files, store.files.clock)
    for run in runs_on(runs, {t: beat for t, beat in beats.items() if t == trial}, ()):
        where = f"run {run['run']} is at work on it on {run.get('host') or 'an unknown machine'}"
        raise UsageError(f"trial {trial}: {where}; import it when the run has ended")
