"""`memloc store`: the content of a store, and whether it is whole."""

from __future__ import annotations

import json
import shlex
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import options, terminal
from memloc.commands.answers import answer
from memloc.counts import counted
from memloc.invocation import command

if TYPE_CHECKING:
    from memloc.store import Snapshot, Store

EXAMPLES = options.examples(
    "memloc store ls                       the sweeps, tables and sizes",
    "memloc store verify --store s3://bucket/runs",
)
app = typer.Typer(help="List, check, export, import and remove what was computed.", epilog=EXAMPLES, rich_markup_mode=None)

LS_EXAMPLES = options.examples("memloc store ls", "memloc store ls --json --store s3://bucket/runs")
VERIFY_EXAMPLES = options.examples(
    "memloc store verify                   exit code 3 where something is broken",
    "memloc store verify --store s3://bucket/runs --json",
)


@app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("ls", short_help="List the sweeps, the tables and the sizes of a store.", epilog=LS_EXAMPLES)
def ls(store: str = options.STORE, as_json: bool = options.JSON) -> None:
    """List the sweeps (each content of a name by itself), the tables and the sizes of a store."""
    from memloc.analysis.stage_versions import warn_of_analyses
    from memloc.store.opening import existing

    opened = existing(store)
    snapshot = opened.snapshot()
    warn_of_analyses(opened, snapshot.shown())
    content = {
        "store": opened.uri,
        "sweeps": _sweeps(opened, snapshot),
        "tables": _tables(snapshot),
        **_files(opened, snapshot),
    }
    answer(json.dumps(content, indent=1) if as_json else terminal.plain(_render(content)))


def _sweeps(store: Store, snapshot: Snapshot) -> list[dict[str, Any]]:
    """Each record: NAME@sha8, its first launch, how far it is, its differences from the record of its name before it."""
    from memloc.analysis.sweep_records import about_records, moment
    from memloc.analysis.sweep_status import counts
    from memloc.store.records import merged_trials

    every = about_records(store, snapshot=snapshot)
    states = counts(store, {about.name: merged_trials([about.record]) for about in every}, snapshot)
    return [
        {
            "sweep": about.name,
            "launched": moment(about.launched),
            "trainings": len(about.record.trials),
            **states[about.name],
            "differs": list(about.differs),
        }
        for about in every
    ]


def _tables(snapshot: Snapshot) -> list[dict[str, Any]]:
    return [{"table": table, "rows": rows, "bytes": size} for table, (rows, size) in snapshot.tables().items()]


def _files(store: Store, snapshot: Snapshot) -> dict[str, Any]:
    from memloc.store import layout

    sizes = store.files.listing(layout.CHECKPOINTS)
    kept = layout.own(sizes)
    return {
        "commits": len(snapshot.commits),
        "generation": _generation(snapshot),
        "checkpoints": len(kept),
        "checkpoint_bytes": sum(sizes[path] for path in kept),
        "broken_commits": len(snapshot.broken),
        "quarantined": len(store.files.listing(layout.QUARANTINE)),
        "unfinished_removals": _unfinished(store),
    }


def _generation(snapshot: Snapshot) -> dict[str, Any] | None:
    """What `store compact` has merged: the number of the generation, its commits, its files and their bytes."""
    present = snapshot.generation
    if present is None:
        return None
    size = sum(file.size for file in present.files)
    counts = {"commits": len(present.commits), "files": len(present.files), "bytes": size}
    return {"generation": present.manifest.generation, **counts}


def _unfinished(store: Store) -> list[str]:
    """What `store rm` must be given to go on: NAME, or NAME@sha8 if the name has a record again, which is to stay.

    A sweep that was launched again with the same content needs all of it again, so there is nothing to go on with.
    """
    from memloc.store import layout

    recorded, set_aside = (layout.own(store.files.listing(folder)) for folder in (layout.SWEEPS, layout.REMOVALS))
    names = {layout.sweep_of(path) for path in recorded}
    again = {layout.removal(path) for path in recorded}
    open_ones = [(layout.sweep_of(path), layout.record_sha(path)) for path in set_aside if path not in again]
    return sorted({f"{name}@{sha}" if name in names else name for name, sha in open_ones})


def _render(content: dict[str, Any]) -> str:
    from memloc.commands.text_table import text_table
    from memloc.sizes import bytes_in_words

    shown = ("sweep", "launched", "trainings", "done", "failed")
    lines = []
    if content["sweeps"]:
        sweeps = [{**sweep, "launched": _day(sweep["launched"])} for sweep in content["sweeps"]]
        lines.append(text_table(list(shown), [[str(sweep[c]) for c in shown] for sweep in sweeps]))
        for before, sweep in pairwise(content["sweeps"]):
            if sweep["differs"]:
                head = f"{before['sweep']} → {sweep['sweep']}:"
                lines.append("\n".join([head, *(f"  {difference}" for difference in sweep["differs"]), ""]))
    else:
        lines.append("no sweeps\n")
    rows = [[t["table"], str(t["rows"]), bytes_in_words(t["bytes"])] for t in content["tables"]]
    lines.append(text_table(["table", "rows", "size"], rows))
    size = bytes_in_words(content["checkpoint_bytes"])
    lines.append(f"{counted(content['commits'], 'commit')}, {counted(content['checkpoints'], 'checkpoint file')} ({size})")
    if merged := content["generation"]:
        files = f"{counted(merged['files'], 'file')} ({bytes_in_words(merged['bytes'])})"
        lines.append(f"generation {merged['generation']}: {counted(merged['commits'], 'commit')} in {files}")
    if content["broken_commits"] or content["quarantined"]:
        broken, aside = counted(content["broken_commits"], "broken commit"), counted(content["quarantined"], "file")
        lines.append(f"{broken}, {aside} in quarantine/; check with {command('store verify', content['store'])}")
    for name in content["unfinished_removals"]:
        again = command(f"store rm {shlex.quote(name)}", content["store"])
        lines.append(f"the removal of {name} is not complete; {again} goes on")
    return "\n".join(lines)


def _day(launched: str) -> str:
    """`2026-11-28 16:30` of a moment in ISO 8601."""
    return launched[:16].replace("T", " ")


@app.command("verify", epilog=VERIFY_EXAMPLES)
def verify(store: str = options.STORE, as_json: bool = options.JSON) -> None:
    """Hash everything; move what is broken to quarantine/ and exit 3. The next sweep recomputes exactly that."""
    from memloc import stages
    from memloc.store.opening import existing
    from memloc.store.verify import verify as verify_files

    opened = existing(store)
    broken, checked = verify_files(opened.files, stages.tables())
    if as_json:
        answer(json.dumps({"checked": checked, "broken": [vars(file) for file in broken]}, indent=1))
        raise typer.Exit(3 if broken else 0)
    for file in broken:
        print(f"{file.path}: {file.problem}; {file.consequence}")
    if broken:
        print(f"{len(broken)} of {counted(checked, 'file')} broken, moved to quarantine/; run the sweep again")
        raise typer.Exit(3)
    print(f"{counted(checked, 'file')} checked, all as committed")
