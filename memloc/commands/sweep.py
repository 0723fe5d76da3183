"""`memloc sweep`: plan, run what is not committed yet, and say what was found."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from memloc.commands import completion, logs, options
from memloc.commands.signals import stop_on_signals
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.run.events import Outcome
    from memloc.run.executor import Executor as RunExecutor
    from memloc.run.pending import Work
    from memloc.run.plan import Plan
    from memloc.store import Store


EXAMPLES = options.examples(
    "memloc sweep                                           the shipped sweeps",
    "memloc sweep paper-grid --dry-run                      what it would do, and how long it takes",
    "memloc sweep demo noise=0.2 flips.repeats=3 --only seed=0,1",
    "memloc sweep my.yaml --store s3://bucket/runs --address HOST:6379",
)


class Executor(StrEnum):
    ray = "ray"
    inline = "inline"


class Retention(StrEnum):
    all = "all"
    rewound = "rewound"
    last = "last"


@dataclass(frozen=True)
class Options:
    """The command line of one launch, as far as it goes beyond the plan."""

    store: str | None
    data_dir: Path
    address: str
    executor: Executor
    cpus: int | None
    gpus: int | None
    gpus_per_trial: float
    gpus_per_task: float
    checkpoints: Retention | None
    as_json: bool

    @property
    def retention(self) -> Literal["all", "rewound", "last"] | None:
        return self.checkpoints.value if self.checkpoints else None


def sweep(
    arguments: list[str] = typer.Argument(
        None,
        metavar="[NAME|FILE.yaml] [FIELD=VALUE …]",
        help="A shipped sweep or a file; without one, lists the shipped sweeps.",
        autocompletion=completion.sweeps_and_fields,
    ),
    only: list[str] = options.ONLY,
    store: str = options.STORE,
    data_dir: str = options.DATA_DIR,
    address: str = typer.Option("local", "--address", metavar="local|auto|HOST:PORT", help="The Ray cluster."),
    executor: Executor = typer.Option(Executor.ray, "--executor", help="inline: one process, for debugging."),
    cpus: int = typer.Option(None, "--cpus", min=1, help="Local CPUs to use; default: all that this process may use."),
    gpus: int = typer.Option(None, "--gpus", min=0, help="Local GPUs to use; default: all."),
    gpus_per_trial: float = typer.Option(1.0, "--gpus-per-trial", help="GPUs that a training holds."),
    gpus_per_task: float = typer.Option(0.5, "--gpus-per-task", help="GPUs that an analysis task holds."),
    checkpoints: Retention = typer.Option(
        None,
        "--checkpoints",
        help="Which checkpoints to keep; default: all, of held-out trainings what their analyses read.",
    ),
    max_trials: int = typer.Option(None, "--max-trials", min=1, help="Only the first N trials."),
    yes: bool = typer.Option(False, "--yes", help="Really: more than 100,000 trials."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the trials and what they cost; run nothing."),
    show: bool = typer.Option(False, "--show", help="Print the sweep's YAML."),
    as_json: bool = options.JSON,
) -> None:
    """Run a sweep; what is committed already is skipped, so the same command is how you resume."""
    from memloc import sweep as sweeps

    name, overrides = _split(arguments or [])
    if name is None:
        if overrides or only:
            raise UsageError(
                f"{overrides[0] if overrides else '--only'}: name a sweep first; shipped: {', '.join(sweeps.shipped())}"
            )
        return _list_shipped(as_json)
    path = sweeps.find(name)
    if show:
        sweeps.about(path)  # says in one line what is wrong with a file that cannot be shown
        print(path.read_text(encoding="utf-8"), end="")
        return None
    for option, value in (("--gpus-per-trial", gpus_per_trial), ("--gpus-per-task", gpus_per_task)):
        if not 0 < value <= 64:
            raise UsageError(f"{option} {value}: valid: above 0, at most 64")
    from memloc.data.directory import data_dir as directory
    from memloc.run.cluster import resolve

    address = resolve(address)
    options = Options(
        store, directory(data_dir), address, executor, cpus, gpus, gpus_per_trial, gpus_per_task, checkpoints, as_json
    )
    return _sweep(path, overrides, only, max_trials, yes, dry_run, options)


def _check_compiler(works: list[Work], options: Options) -> None:
    """Raises UsageError where a training cannot be compiled as it asks, here on the CPU; elsewhere its trainer says so."""
    if options.address == "local" and any(w.trial.config.compile and w.train != "done" for w in works):
        from memloc.run.worker import default_device
        from memloc.stages.training.forward import require_compiler

        if default_device().type == "cpu":
            require_compiler()


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    from memloc.sweep.command_line import OVERRIDE

    names = [a for a in arguments if not OVERRIDE.match(a)]
    if len(names) > 1:
        raise UsageError(f"{names[1]}: is neither FIELD=VALUE nor the only sweep ({names[0]} was named first)")
    return (names[0] if names else None), [a for a in arguments if OVERRIDE.match(a)]


def _list_shipped(as_json: bool) -> None:
    from memloc import sweep as sweeps

    found = {name: " ".join(sweeps.about(path).split()) for name, path in sweeps.shipped().items()}
    if as_json:
        print(json.dumps([{"name": n, "about": a} for n, a in found.items()]))
        return
    for name, about in found.items():
        print(f"{name}\n    {about}")
    print("\nmemloc sweep NAME --dry-run shows what a sweep would do; memloc sweep NAME --show prints its YAML.")


def _sweep(
    path: Path, overrides: list[str], only: list[str], max_trials: int | None, yes: bool, dry_run: bool, options: Options
) -> None:
    from memloc import sweep as sweeps
    from memloc.data import require
    from memloc.run.pending import pending
    from memloc.run.planner import build_plan
    from memloc.run.score_sources import check_labels
    from memloc.stages import REGISTRY
    from memloc.store import Store, records
    from memloc.store.opening import store_uri

    first = max_trials if dry_run and not only else None
    loaded = sweeps.load(path, REGISTRY, overrides, many=yes, first=first)
    selected = sweeps.only(loaded.entries, only, REGISTRY)[:max_trials]
    store = Store(store_uri(options.store))
    everything = build_plan(loaded, loaded.entries, options.data_dir, store)
    whole = selected == list(loaded.entries)
    plan = everything if whole else build_plan(loaded, selected, options.data_dir, store)
    for note in plan.notes:
        print(f"memloc: note: {note}", file=sys.stderr)
    if dry_run:
        from memloc.commands.dry_run import dry_run as report

        return report(plan, store, options)
    store.files.check_usable()
    snapshot = store.snapshot()
    works = pending(plan, store, snapshot, options.retention)
    todo = [w for w in works if w.anything]
    require((w.trial.config.dataset for w in todo if w.computes), options.data_dir)
    check_labels((w.trial for w in todo if w.parts), options.data_dir)
    _check_compiler(todo, options)
    log_folder = logs.folder() if todo else None  # what is wrong with it is said before the store is touched
    record = records.write_sweep(store.files, plan.name, everything.record())
    records.clear_failures(store.files, {i for w in todo for i in w.trial.part_ids if i not in snapshot.commits})
    outcome = _run(plan, todo, store, record, log_folder, options) if log_folder else None
    return _close(plan, store, record, outcome, options)


# --- running ----------------------------------------------------------------------------------------------------------


def _run(plan: Plan, works: list[Work], store: Store, record: str, log_folder: Path, options: Options) -> Outcome:
    from memloc.commands.progress import Progress
    from memloc.commands.words import labels
    from memloc.run.estimate import price_on
    from memloc.run.executor import launch
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
                progress.starting("Ray")  # said before it is imported, which takes seconds too
            executor = _executor(store, options)
            snapshot = store.snapshot()
            return launch(
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
    here = options.address == "local" and options.executor is Executor.ray
    cpus = options.cpus or usable_cpus()
    where = f" on {cpus} CPU{'s' * (cpus != 1)}" if here else ""
    return f"{plan.name}: {trainings} trainings and {parts} analysis parts to do{where}{skipped}; store {store.uri}"


def _executor(store: Store, options: Options) -> RunExecutor:
    if options.executor is Executor.inline:
        from memloc.run.inline import Inline

        return Inline(store, options.data_dir, _device(options))
    from memloc.run.placement import Resources
    from memloc.run.ray import OnRay

    resources = Resources(options.address, options.cpus, options.gpus, options.gpus_per_trial, options.gpus_per_task)
    return OnRay(store, options.data_dir, resources)


def _device(options: Options) -> Any:
    """--gpus 0 means the CPU, where there is a GPU too."""
    import torch

    return torch.device("cpu") if options.gpus == 0 else None


# --- the end ----------------------------------------------------------------------------------------------------------


def _close(plan: Plan, store: Store, record: str, outcome: Outcome | None, options: Options) -> None:
    from memloc.analysis.sweep_status import sweep_status
    from memloc.commands.summary import next_steps, summary
    from memloc.store import records

    snapshot = store.snapshot()
    if options.as_json:
        print(json.dumps(sweep_status(store, record, snapshot) | {"needs": [u.as_json() for u in plan.unmet]}))
    else:
        if outcome is None and not plan.unmet:
            print(f"{plan.name}: nothing to do, all {len(plan.trials)} trials are committed in {store.uri}\n")
        # Where the name has other records too, the summary is of this one alone.
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
    from memloc.commands.words import at_store, program

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
