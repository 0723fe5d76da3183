"""One launch of a sweep: makes the plan, runs what is not committed, and says how it ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from memloc.commands import logs
from memloc.commands.closing import close
from memloc.commands.signals import stop_on_signals

if TYPE_CHECKING:
    from memloc.run.events import Outcome
    from memloc.run.executor import Executor as RunExecutor
    from memloc.run.pending import Work
    from memloc.run.placement import Resources
    from memloc.run.plan import Plan
    from memloc.store import Store


class Executor(StrEnum):
    """Where a sweep runs: on Ray, or in this process."""

    ray = "ray"
    inline = "inline"


class Retention(StrEnum):
    """Which checkpoints a sweep keeps."""

    all = "all"
    rewound = "rewound"
    last = "last"


@dataclass(frozen=True)
class TrialSelection:
    """The trials of a launch: a sweep file, values that replace its own (`FIELD=VALUE`), filters, how many of the first."""

    path: Path
    overrides: Sequence[str]
    only: Sequence[str]
    max_trials: int | None
    many: bool


@dataclass(frozen=True)
class Options:
    """The options of one launch that do not concern the plan."""

    store: str | None
    data_dir: Path
    executor: Executor
    resources: Resources
    checkpoints: Retention | None
    as_json: bool

    @property
    def retention(self) -> Literal["all", "rewound", "last"] | None:
        """The policy by its name; None: the default."""
        return self.checkpoints.value if self.checkpoints else None


def launch(selection: TrialSelection, dry_run: bool, options: Options) -> None:
    """Runs what is not committed yet, or prints what that would be.

    Raises:
        typer.Exit: 1 if something failed or is needed first, 130 if the launch was interrupted.
    """
    from memloc.store import Store
    from memloc.store.opening import store_uri

    store = Store(store_uri(options.store))
    plan, everything = _plans(selection, dry_run, store, options)
    for note in plan.notes:
        print(f"memloc: note: {note}", file=sys.stderr)
    if dry_run:
        from memloc.commands.dry_run import dry_run as report

        report(plan, store, options)
        return
    store.files.check_usable()
    works = _checked_works(plan, store, options)
    log_folder = logs.folder() if works else None  # its errors come before the store is touched
    record = _record(everything, works, store)
    outcome = _run(plan, works, store, record, log_folder, options) if log_folder else None
    close(plan, store, record, outcome, options)


def _plans(selection: TrialSelection, dry_run: bool, store: Store, options: Options) -> tuple[Plan, Plan]:
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


def _checked_works(plan: Plan, store: Store, options: Options) -> list[Work]:
    """The works to do; raises UsageError if the data or the compiler that they need are missing."""
    from memloc.data import require
    from memloc.run.pending import pending
    from memloc.run.score_sources import check_labels

    bits = expected_numerics(options, dry_run=False)
    works = [w for w in pending(plan, store, store.snapshot(), options.retention, numerics=bits) if w.anything]
    require((w.trial.config.dataset for w in works if w.computes), options.data_dir)
    check_labels((w.trial for w in works if w.parts), options.data_dir)
    _check_compiler(works, options)
    return works


def expected_numerics(options: Options, dry_run: bool) -> str | None:
    """What the bits of a training depend on where it will run; None if this process cannot know it.

    The nodes of a cluster may have any device. The driver of Ray asks no GPU for its name, because that would make a context
    which holds memory until the sweep ends.
    """
    from memloc.run.provenance import numerics
    from memloc.run.worker import default_device

    if options.resources.address != "local":
        return None
    device = _device(options) or default_device()
    asks = dry_run or options.executor is Executor.inline or device.type == "cpu"
    return numerics(device) if asks else None


def _record(everything: Plan, works: list[Work], store: Store) -> str:
    """Writes the sweep's record and removes the failure records of parts that are tried again; returns NAME@sha8."""
    from memloc.store import records

    record = records.write_sweep(store.files, everything.name, everything.record())
    records.clear_failures(store.files, {i for w in works for i in w.tried})
    return record


def _check_compiler(works: list[Work], options: Options) -> None:
    """Raises UsageError if a training is to be compiled on this CPU and cannot be. Elsewhere its trainer says so."""
    if options.resources.address == "local" and any(w.trial.config.compile and w.train != "done" for w in works):
        from memloc.run.worker import default_device
        from memloc.stages.training.forward import require_compiler

        if default_device().type == "cpu":
            require_compiler()


def _run(plan: Plan, works: list[Work], store: Store, record: str, log_folder: Path, options: Options) -> Outcome:
    from memloc.commands.formatting import labels
    from memloc.commands.progress import Progress
    from memloc.run.estimate import price_on
    from memloc.run.executor import launch as execute
    from memloc.run.pulse import Heartbeats

    named = dict(zip((t.id for t in plan.trials), labels([t.config for t in plan.trials]), strict=True))
    progress = Progress(works, named, quiet=options.as_json)
    heartbeats = Heartbeats(store, works, record)
    log_file = log_folder / f"{plan.name}-{heartbeats.run}.log"
    with logs.logging_to(log_file), progress:
        progress.notice(_announcement(plan, works, store, options) + f"; log {log_file}")
        should_stop = stop_on_signals(progress.notice)
        try:
            if options.executor is Executor.ray:
                progress.starting("Ray")  # printed before the import, which takes seconds too
            executor = _executor(store, options)
            snapshot = store.snapshot()
            return execute(
                works,
                executor,
                lambda capacity: price_on(works, snapshot, options.data_dir, capacity),
                [heartbeats, progress],
                should_stop,
            )
        finally:
            heartbeats.close()


def _announcement(plan: Plan, works: list[Work], store: Store, options: Options) -> str:
    from memloc.run.capacity import usable_cpus

    trainings = sum(w.train != "done" for w in works)
    parts = sum(len(w.parts) for w in works)
    done = len(plan.trials) - len(works)
    skipped = f" ({done} of {len(plan.trials)} trials are done already)" if done else ""
    here = options.resources.address == "local" and options.executor is Executor.ray
    cpus = options.resources.cpus or usable_cpus()
    where = f" on {cpus} CPU{'s' * (cpus != 1)}" if here else ""
    return f"{plan.name}: {trainings} trainings and {parts} analysis parts to do{where}{skipped}; store {store.uri}"


def _executor(store: Store, options: Options) -> RunExecutor:
    if options.executor is Executor.inline:
        from memloc.run.inline import Inline

        return Inline(store, options.data_dir, _device(options))
    from memloc.run.ray import OnRay

    return OnRay(store, options.data_dir, options.resources)


def _device(options: Options) -> Any:
    """--gpus 0 means the CPU, even if there is a GPU."""
    import torch

    return torch.device("cpu") if options.resources.gpus == 0 else None
