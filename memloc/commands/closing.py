"""The end of a launch: the summary, how the launch ended, what to type next, and the exit code."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from memloc.commands.launch import Options
    from memloc.run.events import Outcome
    from memloc.run.plan import Plan
    from memloc.store import Store


def close(plan: Plan, store: Store, record: str, outcome: Outcome | None, options: Options) -> None:
    """Says how a launch ended, and what the sweep shows. outcome: None if there was nothing to do.

    Raises:
        typer.Exit: 1 if something failed or is needed first, 130 if the launch was interrupted.
    """
    from memloc.analysis.sweep_status import sweep_status
    from memloc.commands.summary import next_steps, summary
    from memloc.store import records

    snapshot = store.snapshot()
    if options.as_json:
        print(json.dumps(sweep_status(store, record, snapshot) | {"needs": [u.as_json() for u in plan.unmet]}))
    else:
        if outcome is None and not plan.unmet:
            print(f"{plan.name}: nothing to do, all {len(plan.trials)} trials are committed in {store.uri}\n")
        # If the name has other records too, the summary is about this record alone.
        one = len(records.read_sweep(store.files, plan.name)) == 1
        print(summary(store, plan.name if one else record), end="")
        _say_how_it_ended(plan, outcome, options)
        if outcome is None or not (outcome.failures or outcome.interrupted):
            print(next_steps(plan.name, options.store) if not plan.unmet else "", end="")
    for line in plan.needs():
        print(f"memloc: {line}", file=sys.stderr)
    if outcome and outcome.interrupted:
        raise typer.Exit(130)
    if plan.unmet or (outcome and outcome.failures):
        raise typer.Exit(1)


def _say_how_it_ended(plan: Plan, outcome: Outcome | None, options: Options) -> None:
    from memloc.commands.invocation import at_store, program

    at = at_store(options.store)
    if outcome and outcome.failures:
        for part_id, error in list(outcome.failures.items())[:5]:
            print(f"memloc: part {part_id} failed: {error}", file=sys.stderr)
        print(
            f"memloc: {len(outcome.failures)} parts failed; tracebacks: {program()} status {plan.name}{at}", file=sys.stderr
        )
    if outcome and outcome.interrupted:
        again = f"{program()} {shlex.join(sys.argv[1:])}"
        print(f"memloc: interrupted; everything committed is kept. To go on: {again}", file=sys.stderr)
