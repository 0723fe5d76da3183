"""`memloc sweep`: the command line of a launch, and the list of shipped sweeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from memloc.commands import completion, options
from memloc.commands.answers import answer
from memloc.commands.device import check_graphs
from memloc.commands.durations import in_seconds
from memloc.commands.launch import launch, preview
from memloc.commands.launch_options import DeviceName, ExecutorName, Options, Retention, TrialSelection
from memloc.commands.modes import refuse_others
from memloc.commands.prose import wrapped
from memloc.errors import UsageError
from memloc.invocation import program
from memloc.sizes import in_bytes

if TYPE_CHECKING:
    from memloc.run.log_targets import LogTarget
    from memloc.run.placement import Resources

SHARES = {"gpus_per_trial": "a training", "gpus_per_task": "an analysis task"}
EXAMPLES = options.examples(
    "memloc sweep                          the shipped sweeps",
    "memloc sweep paper-grid --dry-run     what it would do, and its time",
    "memloc sweep --fields                 what one can set, and what it means",
    "memloc sweep demo noise=0.2 flips.repeats=3 --only seed=0,1",
    "memloc sweep my.yaml --store s3://bucket/runs --address HOST:6379",
)


class SweepCommand(TyperCommand):
    """A command whose one list of arguments means a name and values; its usage says so."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the name of the command in its usage."""
        return ["[OPTIONS]", "[NAME|FILE.yaml]", "[FIELD=VALUE]..."]


def sweep(
    context: typer.Context,
    arguments: list[str] = typer.Argument(
        None,
        metavar="NAME|FILE.yaml FIELD=VALUE…",
        help="A shipped sweep or a file; without one, lists the shipped sweeps.",
        autocompletion=completion.sweeps_and_fields,
    ),
    only: list[str] = options.ONLY,
    store: str = options.STORE,
    data_dir: str = options.DATA_DIR,
    address: str = options.ADDRESS,
    executor: ExecutorName = options.EXECUTOR,
    cpus: int = options.CPUS,
    gpus: int = options.GPUS,
    device: DeviceName = options.DEVICE,
    cuda_graphs: bool = options.CUDA_GRAPHS,
    gpus_per_trial: float = options.GPUS_PER_TRIAL,
    gpus_per_task: float = options.GPUS_PER_TASK,
    checkpoints: Retention = options.CHECKPOINTS,
    max_checkpoint_bytes: str = options.MAX_CHECKPOINT_BYTES,
    storage_patience: str = options.STORAGE_PATIENCE,
    log_to: list[str] = options.LOG_TO,
    max_trials: int = options.MAX_TRIALS,
    yes: bool = options.YES,
    gpu: str = typer.Option(
        None, "--gpu", metavar="CARD", help="For --dry-run: the GPUs of its forecast, such as h100, a100, l4."
    ),
    tflops: float = typer.Option(None, "--tflops", metavar="N", help="For --dry-run: what a GPU reaches, in TFLOP/s."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the trials and what they cost; run nothing."),
    show: bool = typer.Option(False, "--show", help="Print the sweep's YAML."),
    fields: bool = typer.Option(
        False,
        "--fields",
        help="List every field: default, valid values, meaning, source. Of a sweep also its plugins'.",
    ),
    as_json: bool = options.JSON,
) -> None:
    """Run a sweep; what is committed already is skipped, so the same command is how you resume."""
    name, overrides = split(arguments or [])
    if fields or show or name is None:
        return _shown(context, (name, overrides), fields, as_json)
    from memloc import sweep as sweeps
    from memloc.data.directory import data_dir as directory
    from memloc.run.cards import chosen

    path, shares = sweeps.find(name), {"gpus_per_trial": gpus_per_trial, "gpus_per_task": gpus_per_task}
    where = resources(address, executor, {"cpus": cpus, "gpus": gpus, **shares}, device)
    check_graphs(cuda_graphs, device, gpus)
    selection = TrialSelection(path, overrides, only, max_trials, yes)
    patience = in_seconds("--storage-patience", storage_patience)
    most = None if max_checkpoint_bytes is None else in_bytes("--max-checkpoint-bytes", max_checkpoint_bytes)
    logs = _logs(log_to, executor)
    card = chosen(gpu, tflops)
    if card is not None and not dry_run:
        raise UsageError("--gpu and --tflops: are for --dry-run, which forecasts; a run computes on the GPUs that are there")
    how = Options(store, directory(data_dir), executor, where, checkpoints, as_json, patience, most, logs, card, cuda_graphs)
    return preview(selection, how) if dry_run else launch(selection, how)


def _shown(context: typer.Context, given: tuple[str | None, list[str]], fields: bool, as_json: bool) -> None:
    """Prints the fields, the shipped sweeps or the YAML of a sweep; nothing runs. given: the name and the values."""
    from memloc import sweep as sweeps

    name, overrides = given
    if fields:
        reason = "--fields lists the fields of every sweep, and of the plugins of a NAME; leave one of them out"
        if overrides:
            raise UsageError(f"{overrides[0]}: {reason}")
        refuse_others(context, ("arguments", "fields", "as_json"), reason)
        from memloc.commands.field_list import show as show_fields

        return show_fields(as_json, None if name is None else sweeps.find(name))
    if name is None:
        refuse_others(context, ("as_json",), f"name a sweep first; shipped: {', '.join(sweeps.shipped())}")
        return _list_shipped(as_json)
    path = sweeps.find(name)
    reason = "--show prints the YAML as it is; --dry-run shows what a sweep would do"
    if overrides:
        raise UsageError(f"{overrides[0]}: {reason}")
    refuse_others(context, ("arguments", "show"), reason)
    sweeps.about(path)  # raises a one-line error for a file that cannot be shown
    print(path.read_text(encoding="utf-8"), end="")
    return None


def resources(
    address: str, executor: ExecutorName, bounds: dict[str, float | None], device: DeviceName | None = None
) -> Resources:
    """Where to run. bounds: the options that say how much of a machine is used; None: not given.

    Raises:
        UsageError: an option that would have no effect, a share that cannot be, or an address without a cluster.
    """
    from memloc.run.cluster import resolve
    from memloc.run.placement import Resources

    given = {name: value for name, value in bounds.items() if value is not None}
    for name, value in given.items():
        option = f"--{name.replace('_', '-')} {value:g}"
        if name in SHARES and not 0 < value <= 1:
            raise UsageError(f"{option}: {SHARES[name]} uses one GPU; valid: above 0, at most 1")
        if device and name != "cpus" and (device is DeviceName.cpu) == bool(value):
            raise UsageError(f"{option}: does not go with --device {device.value}; leave one of them out")
        if executor is ExecutorName.inline and (name, value) != ("gpus", 0):
            raise UsageError(f"{option}: --executor inline does one thing after the other; leave one of them out")
        if address != "local" and name not in SHARES:
            raise UsageError(f"{option}: is for this machine alone; --address {address} uses what the cluster has")
    if executor is ExecutorName.inline and address != "local":
        raise UsageError(f"--address {address}: --executor inline uses no cluster; leave one of them out")
    if device is DeviceName.cpu and address == "local":
        given["gpus"] = 0
    return Resources(resolve(address), device=device.value if device else None, **given)  # type: ignore[arg-type]


def _logs(asked: list[str], executor: ExecutorName) -> tuple[LogTarget, ...]:
    """Where epochs are logged; raises UsageError for what cannot be."""
    from memloc.run.log_targets import log_target

    targets = tuple(log_target(text) for text in asked)
    if targets and executor is ExecutorName.inline:
        raise UsageError(f"{targets[0]}: Ray Tune does the logging; leave out --executor inline")
    return targets


def split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """(the sweep that is named, the values FIELD=VALUE); raises UsageError if anything else is among them."""
    from memloc.sweep.command_line import OVERRIDE

    names = [a for a in arguments if not OVERRIDE.match(a)]
    if len(names) > 1:
        raise UsageError(f"{names[1]}: is neither FIELD=VALUE nor the only sweep ({names[0]} was named first)")
    return (names[0] if names else None), [a for a in arguments if OVERRIDE.match(a)]


def _list_shipped(as_json: bool) -> None:
    from memloc import sweep as sweeps

    shipped = {name: " ".join(sweeps.about(path).split()) for name, path in sweeps.shipped().items()}
    if as_json:
        answer(json.dumps([{"name": n, "about": a} for n, a in shipped.items()]))
        return
    for name, about in shipped.items():
        print("\n".join([name, *wrapped(about, "    ")]))
    start = f"{program()} sweep NAME"
    print(f"\n{start} --dry-run shows what a sweep would do.\n{start} --show prints its YAML.")
