"""`memloc sweep`: the command line of a launch, and the list of shipped sweeps."""

from __future__ import annotations

import json

import typer

from memloc.commands import completion, options
from memloc.commands.launch import Executor, Options, Retention, Selection, launch
from memloc.errors import UsageError

EXAMPLES = options.examples(
    "memloc sweep                                           the shipped sweeps",
    "memloc sweep paper-grid --dry-run                      what it would do, and how long it takes",
    "memloc sweep --fields                                  what one can set, and what it means",
    "memloc sweep demo noise=0.2 flips.repeats=3 --only seed=0,1",
    "memloc sweep my.yaml --store s3://bucket/runs --address HOST:6379",
)


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
    fields: bool = typer.Option(False, "--fields", help="List every field: default, valid values, meaning, source."),
    as_json: bool = options.JSON,
) -> None:
    """Run a sweep; what is committed already is skipped, so the same command is how you resume."""
    from memloc import sweep as sweeps

    if fields:
        from memloc.commands.field_list import show as show_fields

        return show_fields(as_json)
    name, overrides = _split(arguments or [])
    if name is None:
        if overrides or only:
            raise UsageError(
                f"{overrides[0] if overrides else '--only'}: name a sweep first; shipped: {', '.join(sweeps.shipped())}"
            )
        return _list_shipped(as_json)
    path = sweeps.find(name)
    if show:
        if overrides or only or as_json:
            other = (*overrides, *(["--only"] if only else []), "--json")[0]
            raise UsageError(f"{other}: --show prints the YAML as it is; --dry-run shows what a sweep would do")
        sweeps.about(path)  # raises a one-line error for a file that cannot be shown
        print(path.read_text(encoding="utf-8"), end="")
        return None
    _check_shares(gpus_per_trial, gpus_per_task)
    from memloc.data.directory import data_dir as directory
    from memloc.run.cluster import resolve

    resources = (resolve(address), executor, cpus, gpus, gpus_per_trial, gpus_per_task)
    selection = Selection(path, overrides, only, max_trials, yes)
    return launch(selection, dry_run, Options(store, directory(data_dir), *resources, checkpoints, as_json))


def _check_shares(gpus_per_trial: float, gpus_per_task: float) -> None:
    for option, value in (("--gpus-per-trial", gpus_per_trial), ("--gpus-per-task", gpus_per_task)):
        if not 0 < value <= 64:
            raise UsageError(f"{option} {value}: valid: above 0, at most 64")


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    from memloc.sweep.command_line import OVERRIDE

    names = [a for a in arguments if not OVERRIDE.match(a)]
    if len(names) > 1:
        raise UsageError(f"{names[1]}: is neither FIELD=VALUE nor the only sweep ({names[0]} was named first)")
    return (names[0] if names else None), [a for a in arguments if OVERRIDE.match(a)]


def _list_shipped(as_json: bool) -> None:
    from memloc import sweep as sweeps

    shipped = {name: " ".join(sweeps.about(path).split()) for name, path in sweeps.shipped().items()}
    if as_json:
        print(json.dumps([{"name": n, "about": a} for n, a in shipped.items()]))
        return
    for name, about in shipped.items():
        print(f"{name}\n    {about}")
    print("\nmemloc sweep NAME --dry-run shows what a sweep would do; memloc sweep NAME --show prints its YAML.")
