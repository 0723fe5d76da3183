"""`memloc status`: how far a sweep is, from any shell and any machine that sees the store."""

from __future__ import annotations

import json
import time
from typing import Any

import typer


def status(
    sweep: str = typer.Argument(None, metavar="[SWEEP]", help="A sweep's name, or NAME@sha8; all sweeps without it."),
    store: str = typer.Option(None, "--store", metavar="URI", help="Default: MEMLOC_STORE, else ./memloc-store."),
    as_json: bool = typer.Option(False, "--json", help="For machines."),
    watch: bool = typer.Option(False, "--watch", help="Again every 5 s, until Ctrl-C."),
) -> None:
    """Show what is done, running, pending and failed. Reads the store only."""
    from memloc.analysis.status import sweep_status
    from memloc.api import open_store

    opened = open_store(store)._store
    while True:
        found = sweep_status(opened, sweep)
        if watch and not as_json:
            print("\033[2J\033[H", end="")
        print(json.dumps(found) if as_json else render(found), flush=True)
        if not watch:
            return
        time.sleep(5)


def render(found: dict[str, Any]) -> str:
    """The counts as a small table, then what failed and why."""
    from memloc.analysis.status import STATES
    from memloc.commands.query import text_table

    rows = [["trials", *(str(found["counts"][s]) for s in STATES)]]
    rows += [[f"  {stage}", *(str(counts[s]) for s in STATES)] for stage, counts in found["stages"].items()]
    lines = [text_table(["", *STATES], rows).rstrip()]
    for failure in found["failures"]:
        lines.append(f"\nfailed: {failure['stage']} of trial {failure['trial']} on {failure['host']}: {failure['error']}")
        lines += ["  " + line for line in failure["traceback"].strip().splitlines()]
    return "\n".join(lines)
