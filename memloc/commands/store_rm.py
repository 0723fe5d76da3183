"""`memloc store rm`: removes a sweep and what no other sweep needs."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options, terminal
from memloc.counts import counted
from memloc.errors import UsageError
from memloc.invocation import command

if TYPE_CHECKING:
    from memloc.store import Store
    from memloc.store.removal import Removal

EXAMPLES = options.examples(
    "memloc store rm demo                  says what goes, and asks",
    "memloc store rm demo@3f06ec05 --yes   one of its contents, without asking",
)
SWEEP: Any = typer.Argument(
    ...,
    metavar="SWEEP",
    help="A sweep's name, or NAME@sha8 for one of its contents.",
    autocompletion=completion.stored_sweeps,
)


def rm(
    sweep: str = SWEEP,
    store: str = options.STORE,
    yes: bool = typer.Option(False, "--yes", help="Do not ask. Without a terminal it is needed."),
) -> None:
    """Remove a sweep's records, and every training, part and checkpoint that no other sweep needs."""
    from memloc.sizes import bytes_in_words
    from memloc.store import removal
    from memloc.store.opening import existing

    opened, again = existing(store), command(f"store rm {shlex.quote(sweep)}", store)
    plan = removal.plan(opened.files, sweep)
    _refuse_alive(opened, plan, store)
    print(terminal.plain(_found(opened.uri, plan)), flush=True)
    if not yes and not _can_ask():
        raise UsageError("store rm: nothing was removed, since nobody can be asked here; --yes removes all of this")
    if not yes and not _agreed():
        print("nothing was removed")
        return
    if not yes:
        _refuse_changed(opened, sweep, plan, store)
    try:
        gone = list(removal.remove(opened.files, plan))
    except BaseException:
        print(f"memloc: the removal is not complete; {again} goes on", file=sys.stderr)
        raise
    sizes = _sizes(plan)
    parts = f", and {counted(len(plan.covered), 'part')} from the generation" if plan.covered else ""
    print(f"removed {counted(len(gone), 'file')} ({bytes_in_words(sum(sizes.get(path, 0) for path in gone))}){parts}")


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _agreed() -> bool:
    """The answer on the terminal. Ctrl-C and Ctrl-D end the program, and remove nothing."""
    try:
        return bool(typer.confirm("Remove all of this?"))
    except typer.Abort:
        print("\nnothing was removed")
        raise typer.Exit(130) from None


def _refuse_changed(store: Store, sweep: str, plan: Removal, named: str | None) -> None:
    """Raises UsageError if something else would go now than was asked about: the question may stand there for hours."""
    from memloc.store import removal

    now = removal.plan(store.files, sweep)
    _refuse_alive(store, now, named)
    if now != plan:
        again = command(f"store rm {shlex.quote(sweep)}", named)
        raise UsageError(f"{sweep}: the store has changed since the question; nothing was removed; {again} asks again")


def _refuse_alive(store: Store, plan: Removal, named: str | None) -> None:
    """Raises UsageError if a run is at work on what would be removed."""
    from memloc.analysis.run_status import runs_on
    from memloc.store import heartbeats

    beats, runs = heartbeats.of_living(store.files)
    alive = runs_on(runs, {trial: beat for trial, beat in beats.items() if trial in plan.trainings}, plan.names)
    if alive:
        run = alive[0]
        sweep = run.get("sweep") or plan.names[0]
        where = f"run {run['run']} of {sweep} is at work on it on {run.get('host') or 'an unknown machine'}"
        raise UsageError(f"{plan.names[0]}: {where}; {command(f'stop {shlex.quote(sweep)}', named)} ends it, then remove it")


def _sizes(plan: Removal) -> Mapping[str, int]:
    return {**plan.records, **plan.set_aside, **plan.analyses, **plan.last, **plan.files}


def _found(uri: str, plan: Removal) -> str:
    """What goes, and how much; what stays since other sweeps need it."""
    from memloc.commands.text_table import text_table
    from memloc.sizes import bytes_in_words
    from memloc.store import layout

    def of(folder: str) -> dict[str, int]:
        return {path: size for path, size in plan.files.items() if path.startswith(f"{folder}/")}

    kinds = {
        "records of the sweep": {**plan.records, **plan.set_aside},
        "commits of trainings": plan.last,
        "commits of analysis parts": plan.analyses,
        "data files": of(layout.DATA),
        "checkpoints and states": of(layout.CHECKPOINTS),
        "records of failures": of(layout.FAILURES),
    }
    kinds = {**kinds, "parts in a generation": plan.covered}
    rows = [[kind, str(len(paths)), bytes_in_words(sum(paths.values()))] for kind, paths in kinds.items() if paths]
    total = bytes_in_words(sum(_sizes(plan).values()) + sum(plan.covered.values()))
    lines = [f"{', '.join(plan.names)} in {uri}: {total} that no other sweep needs"]
    lines.append(text_table(["what", "number", "size"], rows).rstrip())
    if plan.shared:
        sweeps = ", ".join(sorted(set(plan.shared.values())))
        lines.append(f"{counted(len(plan.shared), 'training')} of it also in {sweeps}: kept, with what is recorded there")
    return "\n".join(lines)
