"""`memloc status`: how far a sweep is, from any shell and any machine that sees the store."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import typer

from memloc.commands import options

EXAMPLES = options.examples(
    "memloc status                         every sweep of ./memloc-store",
    "memloc status demo --watch            one sweep, again every 5 s",
    "memloc status demo --json --store s3://bucket/runs",
)


def status(
    sweep: str = options.SWEEP,
    store: str = options.STORE,
    as_json: bool = options.JSON,
    watch: bool = typer.Option(False, "--watch", help="Again every 5 s, until Ctrl-C."),
) -> None:
    """Show what is done, running, pending and failed. Reads the store only."""
    from memloc.analysis.status import sweep_status
    from memloc.analysis.sweep_records import union_note
    from memloc.store.opening import existing

    opened = existing(store)
    if note := union_note(opened, sweep):
        print(f"memloc: note: {note}", file=sys.stderr)
    while True:
        found = sweep_status(opened, sweep)
        if watch and not as_json:
            print("\033[2J\033[H", end="")
        print(json.dumps(found) if as_json else render(found), flush=True)
        if not watch:
            return
        time.sleep(5)


def render(found: dict[str, Any]) -> str:
    """The counts as a small table, with rates while somebody is at work; then what failed and why."""
    from memloc.analysis.trial_states import STATES
    from memloc.commands.query import text_table

    header = ["", *STATES]
    rows = [["trials", *(str(found["counts"][s]) for s in STATES)]]
    rows += [[f"  {stage}", *(str(counts[s]) for s in STATES)] for stage, counts in found["stages"].items()]
    lines = []
    if found["counts"]["running"]:
        header += ["per min", "ETA"]
        rows = [row + cells for row, cells in zip(rows, [["", ""], *map(_rate, found["progress"].values())], strict=True)]
        lines = _to_go(found)
    lines.insert(0, text_table(header, rows).rstrip())
    for waiting in found["waiting"]:
        trials = f"{waiting['trials']} trial{'s' if waiting['trials'] > 1 else ''}"
        lines.append(
            f"block {waiting['block']}: {waiting['stage']} of {trials} waits for C-scores; "
            "the sweep's --dry-run says what it needs"
        )
    for failure in found["failures"]:
        lines.append(f"\nfailed: {failure['stage']} of trial {failure['trial']} on {failure['host']}: {failure['error']}")
        lines += ["  " + line for line in failure["traceback"].strip().splitlines()]
    return "\n".join(lines)


def _rate(stage: dict[str, Any]) -> list[str]:
    """Cells of parts per minute and of the time to go; empty where it is not known or nothing is to be done."""
    from memloc.commands.words import seconds_in_words

    rate, eta = stage["per_minute"], stage["eta_seconds"]
    words = "" if rate is None else f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"
    return [words, seconds_in_words(eta) if eta else ""]


def _to_go(found: dict[str, Any]) -> list[str]:
    """A line on when everything will be done, if that is known of every stage."""
    from memloc.commands.words import seconds_in_words

    etas = [stage["eta_seconds"] for stage in found["progress"].values()]
    known = None not in etas and sum(etas) > 0
    return [f"about {seconds_in_words(sum(etas))} to go"] if known else []
