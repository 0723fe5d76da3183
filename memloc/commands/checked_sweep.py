"""The sweep of a job, checked before it waits in a queue: a mistyped field must be found now and not in a day."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memloc.commands.device import check_graphs
from memloc.commands.durations import in_seconds
from memloc.commands.launch import plans
from memloc.commands.launch_options import DeviceName, ExecutorName, Options, Retention, TrialSelection
from memloc.errors import StoreError, UsageError
from memloc.sizes import in_bytes

if TYPE_CHECKING:
    from memloc.run.jobs.sweep_arguments import SweepArguments
    from memloc.run.plan import Plan
    from memloc.store import Store


@dataclass(frozen=True)
class Kept:
    """Which checkpoints stay. most: how much they may take."""

    checkpoints: Retention | None
    most: str | None


@dataclass(frozen=True)
class On:
    """What the sweep computes on. graphs: whether training steps are replayed. shares: {option: GPUs that a training or a
    task holds}.
    """

    device: DeviceName | None
    graphs: bool
    shares: Mapping[str, float | None]


@dataclass(frozen=True)
class Asked:
    """What the command line says of the sweep. patience: for a storage that fails."""

    arguments: Sequence[str]
    only: Sequence[str]
    store: str | None
    data_dir: str | None
    kept: Kept
    max_trials: int | None
    yes: bool
    on: On
    patience: str
    log_to: Sequence[str]


@dataclass(frozen=True)
class Checked:
    """The arguments of the job's sweep. file: the sweep's own file; None for a sweep that memloc ships."""

    arguments: SweepArguments
    file: Path | None


def checked(asked: Asked, here: bool) -> Checked:
    """Checks as `memloc sweep --dry-run` does.

    Args:
        asked: the command line.
        here: whether the job sees the files of this machine, as a SLURM job does. Else the sweep's file goes along with it.

    Raises:
        UsageError: something in the sweep or its options is wrong, or cannot be a job's.
        StoreError: the store cannot be opened.
    """
    from memloc import sweep as sweeps
    from memloc.commands.sweep import resources, split
    from memloc.data.directory import data_dir as directory
    from memloc.run.jobs.sweep_arguments import SweepArguments, shared_store
    from memloc.store.opening import store_uri

    name, overrides = split(list(asked.arguments))
    if name is None:
        raise UsageError(f"{overrides[0]}: name a sweep first; shipped: {', '.join(sweeps.shipped())}")
    in_seconds("--storage-patience", asked.patience)  # raises an error if it is no time
    path, uri, folder = sweeps.find(name), shared_store(store_uri(asked.store)), directory(asked.data_dir).absolute()
    if asked.kept.most is not None:
        in_bytes("--max-checkpoint-bytes", asked.kept.most)
    shares = {option.strip("-").replace("-", "_"): share for option, share in asked.on.shares.items()}
    check_graphs(asked.on.graphs, asked.on.device, None)
    where = resources("local", ExecutorName.ray, shares, asked.on.device)
    launch = Options(uri, folder, ExecutorName.ray, where, asked.kept.checkpoints, False)
    selection = TrialSelection(path, overrides, asked.only, asked.max_trials, asked.yes)
    plan = plans(selection, True, _store(uri, here), launch)[0]
    if not here:
        _check_portable(plan, asked.data_dir)
    for note in [*plan.notes, *(_missing_data(plan, folder) if here else ())]:
        print(f"memloc: note: {note}", file=sys.stderr)
    file = None if name in sweeps.shipped() else path.absolute()
    data = str(folder) if here else asked.data_dir
    typed = name if file is None else str(file) if here else file.name
    flags = [option for option, given in (("--cuda-graphs", asked.on.graphs), ("--yes", asked.yes)) if given]
    return Checked(SweepArguments(plan.name, typed, overrides, list(_options(asked, uri, data, here)), flags), file)


def _store(uri: str, here: bool) -> Store | None:
    """The store, which may hold C-scores for the plan; None where only the job's own machines reach it."""
    from memloc.store import Store

    try:
        return Store(uri)
    except StoreError as error:
        if here:
            raise
        print(f"memloc: note: {error.problems[0]}; the job may reach it nevertheless", file=sys.stderr)
        return None


def _options(asked: Asked, store: str, data_dir: str | None, here: bool) -> Iterator[tuple[str, str]]:
    from memloc.run.log_targets import log_target

    yield from (("--only", value) for value in asked.only)
    yield "--store", store
    if data_dir is not None:
        yield "--data-dir", data_dir
    if asked.kept.checkpoints is not None:
        yield "--checkpoints", asked.kept.checkpoints.value
    if asked.kept.most is not None:
        yield "--max-checkpoint-bytes", asked.kept.most
    yield "--storage-patience", asked.patience
    yield from (("--log-to", log_target(text, here).text) for text in asked.log_to)
    if asked.max_trials is not None:
        yield "--max-trials", str(asked.max_trials)
    if asked.on.device is not None:
        yield "--device", asked.on.device.value
    yield from ((option, f"{share:g}") for option, share in asked.on.shares.items() if share is not None)


def _check_portable(plan: Plan, data_dir: str | None) -> None:
    """Raises UsageError where the sweep needs files of this machine."""
    from memloc.data import SOURCES

    own = next((t.config.dataset for t in plan.trials if t.config.dataset not in SOURCES), None)
    if own is not None:
        raise UsageError(f"{own}: lies on this machine, and only the sweep's file goes along with the job; use --slurm")
    models = (t.config.model for t in plan.trials)
    file = next((m for m in models if m.startswith("python:") and "/" in m), None)
    weights = (t.config.flat().get(name) for t in plan.trials for name in ("given_from", "weights"))
    file = file or next(iter(plan.own_files), None) or next(filter(None, weights), None)
    if file is not None:
        raise UsageError(f"{file}: lies on this machine, and only the sweep's file goes along with the job; use --slurm")
    if data_dir is not None and not Path(data_dir).is_absolute():
        raise UsageError(f"--data-dir {data_dir}: name the folder by its absolute path on the head of the cluster")


def _missing_data(plan: Plan, folder: Path) -> Iterator[str]:
    """A note for each data set that is not here. It may lie elsewhere on the nodes."""
    from memloc.data import SOURCES, NamedDataset

    for dataset in dict.fromkeys(trial.config.dataset for trial in plan.trials):
        source = SOURCES.get(dataset)
        if isinstance(source, NamedDataset) and source.missing(folder):
            yield f"{dataset} is not in {folder}; {source.how_to_fetch(folder)} must bring it there before the job begins"
