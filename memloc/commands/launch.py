"""One launch of a sweep: makes the plan, runs what is not committed, and says how it ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from memloc.aside import aside_until_here
from memloc.commands import logs
from memloc.commands.card_check import check_memory, decide
from memloc.commands.closing import Launched, close, interrupted
from memloc.commands.determinism import check_determinism
from memloc.commands.device import check_compiler, check_device, device_here, expected_numerics, use_graphs
from memloc.commands.launch_options import ExecutorName, Options, TrialSelection
from memloc.commands.orders import Orders
from memloc.commands.store_compact import after_sweep
from memloc.interruption import on_orders, whole_orders

if TYPE_CHECKING:
    from memloc.commands.progress import Progress
    from memloc.run.budget import CheckpointBudget
    from memloc.run.clock import PricedPlan
    from memloc.run.events import Outcome
    from memloc.run.executor import Capacity, Executor
    from memloc.run.log_targets import Logs
    from memloc.run.pending import Work
    from memloc.run.plan import Plan
    from memloc.store import Store


@aside_until_here()
def launch(
    selection: TrialSelection,
    options: Options,
    closing: Callable[[Launched, Options], None] = close,
    recorded: Callable[[], object] = lambda: None,
) -> None:
    """Runs what is not committed yet. closing: prints what was found and how the launch ended. recorded: is called when
    the store has the record of the sweep, before anything is computed.

    Raises:
        typer.Exit: 1 if something failed or is needed first, 130 if the launch was interrupted.
    """
    from memloc.store import Store
    from memloc.store.opening import store_uri

    if options.executor is ExecutorName.inline:
        import torch  # noqa: F401  (this process computes, so it also answers what is asked aside)
    store = Store(store_uri(options.store))
    try:
        with whole_orders(typer.Exit):
            plan, everything = _noted(plans(selection, False, store, options))
            closing(_carry_out(plan, everything, store, options, recorded), options)
    except KeyboardInterrupt:  # while planning, while closing, or a second order
        raise interrupted() from None


@aside_until_here()
def preview(selection: TrialSelection, options: Options) -> None:
    """Prints what a launch would do, and does nothing."""
    from memloc.commands.dry_run import dry_run
    from memloc.store import Store
    from memloc.store.opening import store_uri

    store = Store(store_uri(options.store))
    plan, _ = _noted(plans(selection, True, store, options))
    check_determinism(plan.trials, options)
    dry_run(plan, store, options)


def _noted(made: tuple[Plan, Plan]) -> tuple[Plan, Plan]:
    """The same plans. Standard error has the notes of the first."""
    for note in made[0].notes:
        print(f"memloc: note: {note}", file=sys.stderr)
    return made


def _carry_out(plan: Plan, everything: Plan, store: Store, options: Options, recorded: Callable[[], object]) -> Launched:
    """Does what is not committed of the plan. everything: the plan of the whole sweep, which is recorded."""
    from memloc.run.budget import CheckpointBudget
    from memloc.run.pulse import new_run

    check_device(options)
    store.files.check_usable()
    every = _works(plan, store, options)
    works = [work for work in every if work.anything]
    if not works:
        return Launched(plan, store, _record(everything, every, store, recorded))
    check_memory(works, options)
    use_graphs(works, options)
    run = new_run()
    log = logs.folder() / logs.name(plan.name, run)
    with logs.logging_to(log):  # its errors come before the store is touched
        launched = Launched(plan, store, _record(everything, every, store, recorded), log)
        budget = CheckpointBudget(everything, store, options.checkpoint_bytes or sys.maxsize)
        launched.outcome = _run(works, run, launched, budget, options)
    return launched


def plans(selection: TrialSelection, dry_run: bool, store: Store | None, options: Options) -> tuple[Plan, Plan]:
    """(the plan of the selected trials, the plan of the whole sweep)."""
    from memloc import sweep as sweeps
    from memloc.run.planner import build_plan
    from memloc.stages import REGISTRY

    first = selection.max_trials if dry_run and not selection.only else None
    loaded = sweeps.load(selection.path, REGISTRY, selection.overrides, many=selection.many, first=first)
    selected = sweeps.only(loaded.entries, selection.only, REGISTRY)[: selection.max_trials]
    everything = build_plan(loaded, loaded.entries, options.data_dir, store)
    if selected == list(loaded.entries):
        return everything, everything
    return build_plan(loaded, selected, options.data_dir, store), everything


def _works(plan: Plan, store: Store, options: Options) -> list[Work]:
    """The work of every trial.

    Raises:
        UsageError: the data or the compiler that they need are missing, or a network cannot be repeated on this device.
    """
    from memloc.data import require
    from memloc.run.pending import pending
    from memloc.run.score_sources import check_labels

    bits = expected_numerics(options, dry_run=False)
    works = pending(plan, store, store.snapshot(), options.retention, numerics=bits)
    require((w.trial.config.source for w in works if w.computes), options.data_dir)
    check_labels((w.trial for w in works if w.parts), options.data_dir)
    check_compiler(works, options)
    check_determinism((w.trial for w in works if w.anything), options)
    return works


def _record(everything: Plan, works: list[Work], store: Store, recorded: Callable[[], object]) -> str:
    """Writes the sweep's record and removes the failure records that are out of date; returns NAME@sha8."""
    from memloc.store import records

    record = records.write_sweep(store.files, everything.name, everything.record())
    recorded()
    records.clear_failures(store.files, {i for w in works for i in w.tried})
    return record


def _run(works: list[Work], run: str, launched: Launched, budget: CheckpointBudget, options: Options) -> Outcome:
    """Does the works. run: the name of this run among the store's heartbeats."""
    from memloc.commands.formatting import training_labels
    from memloc.commands.progress import Progress
    from memloc.commands.upkeep import Upkeep
    from memloc.run.executor import execute
    from memloc.run.log_targets import Logs
    from memloc.run.pulse import Heartbeats
    from memloc.run.sharing import Shared
    from memloc.store import Patience, Store

    plan, store = launched.plan, launched.store
    named = dict(zip((t.id for t in plan.trials), training_labels([t.config for t in plan.trials]), strict=True))
    progress = Progress(works, named, quiet=options.as_json)
    orders = Orders(launched, progress)
    heartbeats = Heartbeats(store, works, launched.record, run, orders.through_the_store)
    orders.heartbeats = heartbeats
    upkeep = Upkeep(store.uri, progress.notice, orders.stopping.is_set)
    with progress, heartbeats, on_orders(orders.by_signal), upkeep:
        progress.notice(_announcement(plan, works, store, options) + f"; log {launched.log}")
        if options.executor is ExecutorName.ray:
            progress.starting("Ray")  # printed before the import, which takes seconds too
        logs = Logs(plan.name, options.log_to)
        executor = _executor(store.uri, options, orders, logs)
        # After an order the driver waits no more: nothing runs in it. What runs elsewhere may still wait.
        patient = Store(store.uri, Patience(options.patience, progress.waits, orders.stopping.is_set))
        shared = Shared(_decided(plan, works), patient, options.retention, expected_numerics(options, dry_run=False))
        outcome = execute(
            works,
            executor,
            lambda left, capacity: _priced(left, capacity, patient, options, progress),
            [heartbeats, progress, budget, upkeep],
            lambda: orders.stopping.is_set() or bool(budget.fault),
            shared.left,
        )
        outcome.interrupted, outcome.storage = orders.stopping.is_set(), outcome.storage or budget.fault
        for problem in logs.failed:
            progress.notice(problem)
    if not (orders.stopping.is_set() or outcome.storage):  # an order may have come after the last part
        after_sweep(store)
    return outcome


@aside_until_here()
def _priced(works: Sequence[Work], capacity: Capacity, store: Store, options: Options, progress: Progress) -> PricedPlan:
    """The prices of the works on an executor, once it is clear that they fit into the cards of its cluster."""
    from memloc.run.estimate import price_on

    if capacity.card is not None:
        for note in decide(works, capacity.card, options.data_dir):
            progress.notice(f"note: {note}")
    return price_on(works, store.snapshot(), options.data_dir, capacity)


def _decided(plan: Plan, works: list[Work]) -> Plan:
    """The plan with what `check_memory` and `use_graphs` have decided on the trials of these works, for later rounds."""
    trials = {work.trial.id: work.trial for work in works}
    return replace(plan, trials=tuple(trials.get(trial.id, trial) for trial in plan.trials))


def _announcement(plan: Plan, works: list[Work], store: Store, options: Options) -> str:
    from memloc.counts import counted
    from memloc.run.capacity import usable_cpus

    trainings = sum(w.train != "done" for w in works)
    parts = sum(len(w.parts) for w in works)
    done = len(plan.trials) - len(works)
    skipped = f" ({done} of {counted(len(plan.trials), 'trial')} done already)" if done else ""
    here = options.resources.address == "local" and options.executor is ExecutorName.ray
    cpus = options.resources.cpus or usable_cpus()
    where = f" on {counted(cpus, 'CPU')}" if here else ""
    left = f"{counted(trainings, 'training')} and {counted(parts, 'analysis part')} to do"
    return f"{plan.name}: {left}{where}{skipped}; store {store.uri}"


def _executor(uri: str, options: Options, orders: Orders, logs: Logs) -> Executor:
    """What carries out the launch. uri: of the store."""
    from memloc.store import Patience, Store

    store = Store(uri, Patience(options.patience, given_up=orders.is_at_once))
    if options.executor is ExecutorName.inline:
        import torch

        from memloc.run.inline import Inline

        return Inline(store, options.data_dir, torch.device(device_here(options)), orders.heartbeats.holder)
    from memloc.run import cluster

    cluster.set_mode(options.resources.address)
    from memloc.run.ray import OnRay

    executor = OnRay(store, options.data_dir, options.resources, orders.end, orders.heartbeats.holder)
    executor.logs = logs
    return executor
