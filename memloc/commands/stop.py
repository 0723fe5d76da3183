"""`memloc stop`: ends runs in good order, from any shell and any machine that sees the store."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options, terminal

if TYPE_CHECKING:
    from memloc.analysis.stopping import Told

EXAMPLES = options.examples(
    "memloc stop demo                      the runs of a sweep, on any machine",
    "memloc stop --store s3://bucket/runs   every run of the store",
)

SWEEP: Any = typer.Argument(
    None,
    metavar="SWEEP",
    help="A sweep's name, or NAME@sha8 for one of its contents; without it, every run of the store.",
    autocompletion=completion.stored_sweeps,
)


def stop(sweep: str = SWEEP, store: str = options.STORE) -> None:
    """Tell runs to end in good order, as Ctrl-C does. The command that began a sweep continues it."""
    from memloc.analysis.stopping import tell
    from memloc.invocation import command
    from memloc.store.opening import existing

    opened = existing(store)
    stopped = tell(opened, sweep)
    for told in stopped.told:
        print(terminal.plain(_line(told)))
    for other in stopped.others:
        again = command(f"stop {shlex.quote(other)}", store)
        print(terminal.plain(f"A run of {other} works on trials of {sweep} too. It goes on; {again} stops it."))
    if stopped.told:
        print("A run looks for its order about every 10 s, completes the epochs and parts that are running, and ends.")
        print(f"{command(f'status {shlex.quote(sweep)}' if sweep else 'status', store)} shows it until then.")
    else:
        print(f"no run is at work{f' on {sweep}' if sweep else ''} in store {opened.uri}; nothing to stop")


def _line(told: Told) -> str:
    from memloc.counts import counted

    stages = ", ".join(f"{stage} of {counted(n, 'trial')}" for stage, n in told.stages.items())
    doing = ": ".join(text for text in (told.state and f"; it is {told.state}", stages) if text)
    how = "was told to stop before" if told.before else "is told to stop"
    return f"run {told.run} of {told.sweep or 'an unknown sweep'} on {told.host or 'an unknown machine'} {how}{doing}"
