"""The end of a launch: the summary, how the launch ended, what to type next, and the exit code."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from memloc.commands.answers import answer
from memloc.errors import DamagedError, MemlocError, OutputError, RayLostError, StorageError, StoreError
from memloc.invocation import at_store, program

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options
    from memloc.run.events import Outcome
    from memloc.run.plan import Plan
    from memloc.store import Store

SHOWN = 5  # failed parts


@dataclass
class Launched:
    """A launch. record: NAME@sha8 of the sweep's record. log: its log file. stopped_at: where `memloc stop` was given.

    outcome: None if there was nothing to do.
    """

    plan: Plan
    store: Store
    record: str
    log: Path = field(default_factory=Path)
    stopped_at: str | None = None
    outcome: Outcome | None = None

    @property
    def failed(self) -> bool:
        """Has a part failed for good?"""
        return bool(self.outcome and self.outcome.failed)

    @property
    def interrupted(self) -> bool:
        """Was it told to stop?"""
        return bool(self.outcome and self.outcome.interrupted)

    @property
    def fault(self) -> str:
        """The fault of the storage that ended it, or nothing."""
        return self.outcome.storage if self.outcome else ""

    @property
    def no_card(self) -> str:
        """What is said if it ended because no card is left that computes, or nothing."""
        return self.outcome.no_card if self.outcome else ""

    @property
    def name(self) -> str:
        """What a command must be given: the sweep's name, or its record if the name has other records too."""
        from memloc.store import records

        try:
            return self.plan.name if len(records.read_sweep(self.store.files, self.plan.name)) == 1 else self.record
        except MemlocError:  # the store is gone
            return self.record


@dataclass(frozen=True)
class Telling:
    """What a launch prints at its end.

    found: what was found, on standard output. steps: what to type next, if all went well. partly: whether it can speak of a
    launch that did not get to its end.
    """

    found: Callable[[Launched, Options], None]
    steps: Callable[[Launched, Options], str]
    partly: bool = True


def close(launched: Launched, options: Options, telling: Telling | None = None) -> None:
    """Prints what was found and how the launch ended. telling: by default the summary of a sweep.

    Raises:
        typer.Exit: 1 if something failed or is needed first, or no card is left; 130 if the launch was interrupted; 3 if the
            storage failed for too long; 2 or 3 if the store cannot give the summary.
        OutputError: standard output cannot be written.
    """
    plan, told = launched.plan, telling or Telling(_summarize, _next_steps)
    stopped = bool(launched.failed or launched.interrupted or launched.fault or launched.no_card or plan.unmet)
    problem: MemlocError | None = None
    try:
        if told.partly or not stopped:
            told.found(launched, options)
    except OutputError:
        raise
    except DamagedError as error:
        problem = StoreError(launched.store.set_aside(error))
    except MemlocError as error:  # such as: somebody has removed the store
        problem = error
    _say_how_it_ended(launched, options)
    for line in problem.problems if problem else ():
        print(f"memloc: there is no summary: {line}", file=sys.stderr)
    if not (problem or options.as_json or stopped):
        print(told.steps(launched, options), end="")
    for line in plan.needs():
        print(f"memloc: {line}", file=sys.stderr)
    if launched.interrupted:
        raise typer.Exit(130)
    if launched.fault:
        raise typer.Exit(StorageError.exit_code)
    if plan.unmet or launched.failed or launched.no_card:
        raise typer.Exit(1)
    if problem:
        raise typer.Exit(problem.exit_code)


def interrupted(stopped_at: str | None = None) -> typer.Exit:
    """Says how to go on after an order to stop; returns the end of the program. stopped_at: as `Launched` has it."""
    how = "interrupted" if stopped_at is None else f"stopped by `memloc stop` at {stopped_at}"
    print(f"memloc: {how}; everything committed is kept. To go on: {_again()}", file=sys.stderr)
    return typer.Exit(130)


def lost(what: str) -> NoReturn:
    """Ends the process at once, with one line, since no call to Ray returns any more. what: is lost, as a sentence."""
    print(f"memloc: {what}; everything committed is kept. To go on: {_again()}", file=sys.stderr, flush=True)
    os._exit(RayLostError.exit_code)


def _again() -> str:
    """The command of this launch."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def _summarize(launched: Launched, options: Options) -> None:
    if options.as_json:
        _print_json(launched)
    else:
        _print_summary(launched)


def _next_steps(launched: Launched, options: Options) -> str:
    from memloc.commands.summary import next_steps

    stages = {analysis.stage for trial in launched.plan.trials for analysis in trial.analyses}
    return next_steps(launched.name, options.store, stages)


def _print_json(launched: Launched) -> None:
    from memloc.analysis.sweep_status import sweep_status

    status = sweep_status(launched.store, launched.record, launched.store.snapshot())
    answer(json.dumps(status | {"needs": [unmet.as_json() for unmet in launched.plan.unmet]}))


def _print_summary(launched: Launched) -> None:
    from memloc.commands.summary import summary
    from memloc.counts import counted

    plan, store = launched.plan, launched.store
    if launched.outcome is None and not plan.unmet:
        trials = counted(len(plan.trials), "trial")
        print(f"{plan.name}: nothing to do; {trials} committed in {store.uri}\n")
    print(summary(store, launched.name), end="")


def _say_how_it_ended(launched: Launched, options: Options) -> None:
    """Says on standard error what failed, where the traceback is, and how to go on."""
    from memloc.counts import counted

    outcome = launched.outcome
    if outcome is None or not (outcome.failed or outcome.interrupted or outcome.storage or outcome.no_card):
        return
    for event in outcome.failed[:SHOWN]:
        print(f"memloc: failed: {event.stage} of trial {event.trial}: {event.error}", file=sys.stderr)
    if outcome.failed:
        tracebacks = f"{program()} status {launched.name}{at_store(options.store)}"
        print(f"memloc: {counted(len(outcome.failed), 'part')} failed; tracebacks: {tracebacks}", file=sys.stderr)
    for ended_by in filter(None, (outcome.storage, outcome.no_card)):
        print(f"memloc: {ended_by}", file=sys.stderr)
    if outcome.interrupted:
        interrupted(launched.stopped_at)
    elif outcome.storage or outcome.no_card:
        kept = "everything committed is kept. To go on when that is mended"
        print(f"memloc: {kept}: {_again()}", file=sys.stderr)
    print(f"memloc: log {launched.log}", file=sys.stderr)
