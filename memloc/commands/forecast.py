"""When a sweep would be done: on this machine, and on numbers of GPUs, with the time that no schedule can undercut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from memloc.commands.formatting import seconds_in_words
from memloc.commands.text_table import text_table
from memloc.counts import counted
from memloc.run.capacity import usable_cpus
from memloc.run.estimate import TimeEstimate, cost_model, estimate, price_alike
from memloc.run.pending import Work
from memloc.run.placement import ONE_BY_ONE, Resources, check_capacity
from memloc.run.schedule import CriticalPath, Slots
from memloc.run.training_step import timed
from memloc.run.worker import default_device
from memloc.store import Snapshot

if TYPE_CHECKING:
    from memloc.commands.launch import Options

GPUS = (1, 8, 64, 1024)
WORTH_A_TABLE = 600.0  # seconds: a sweep that ends sooner on this machine needs no GPUs


@dataclass(frozen=True)
class Forecast:
    """An estimate for `count` workers (processes of this machine's CPUs) or GPUs."""

    count: int
    unit: str
    estimate: TimeEstimate

    def as_json(self) -> dict[str, Any]:
        """The forecast as `--dry-run --json` prints it."""
        e = self.estimate
        path = path_as_json(e.critical)
        return {
            "slots": self.count, "unit": self.unit, "seconds": round(e.seconds, 1), "bound": round(e.bound, 1),
            "critical_path": path, "basis": e.basis,
        }  # fmt: skip


def path_as_json(path: CriticalPath | None) -> dict[str, Any] | None:
    """The critical path as `--dry-run --json` prints it."""
    if path is None:
        return None
    stages = [{"stage": stage, "seconds": round(seconds, 1)} for stage, seconds in path.stages]
    return {"trial": path.trial, "seconds": round(path.seconds, 1), "stages": stages}


def forecasts(works: Sequence[Work], snapshot: Snapshot, options: Options) -> list[Forecast]:
    """The forecast for this machine, then those for 1, 8, 64, 1024 GPUs and for as many as --gpus says.

    Raises:
        UsageError: a process of these works needs more than this machine has, and the run would be here.
    """
    check_capacity_here(works, options)
    counts = sorted({*GPUS, options.resources.gpus or 1})
    return [*_here(works, snapshot, options), *_on_gpus(works, snapshot, options, options.resources, counts)]


def check_capacity_here(works: Sequence[Work], options: Options) -> None:
    """Raises UsageError, as the run would, if a process of these works needs more than this machine has."""
    import torch

    if options.resources.address != "local" or options.executor.value == "inline":
        return
    gpus = torch.cuda.device_count() if options.resources.gpus is None else options.resources.gpus
    node = {"CPU": float(options.resources.cpus or usable_cpus()), "GPU": float(gpus)}
    check_capacity([work for work in works if work.anything], [node], options.resources)


def _here(works: Sequence[Work], snapshot: Snapshot, options: Options) -> list[Forecast]:
    """The one of this machine: on its GPUs if it has any, else on its CPUs."""
    import torch

    if default_device().type != "cuda" or options.resources.gpus == 0:
        return [_on_cpus(works, snapshot, options)]
    one_by_one = options.executor.value == "inline"
    count = 1 if one_by_one else options.resources.gpus or torch.cuda.device_count()
    shares = ONE_BY_ONE if one_by_one else options.resources
    return _on_gpus(works, snapshot, options, shares, [count], here=True)


def _on_cpus(works: Sequence[Work], snapshot: Snapshot, options: Options) -> Forecast:
    import torch

    cpu = torch.device("cpu")
    model = cost_model(works, snapshot, options.data_dir, None, lambda trial, shape: timed(trial, shape, cpu))
    threads = max((w.trial.config.threads for w in works), default=1)
    if options.executor.value == "inline":
        return Forecast(1, "workers", estimate(price_alike(works, model, Slots(1), ONE_BY_ONE)))
    cpus = options.resources.cpus or usable_cpus()
    slots = Slots(1, float(max(cpus, threads)))
    return Forecast(max(1, cpus // threads), "workers", estimate(price_alike(works, model, slots)))


def _on_gpus(
    works: Sequence[Work],
    snapshot: Snapshot,
    options: Options,
    resources: Resources,
    counts: Sequence[int],
    here: bool = False,
) -> list[Forecast]:
    """The forecast for each count of GPUs. The works are priced once."""
    import torch

    unknown = (lambda trial, shape: timed(trial, shape, torch.device("cuda"))) if here else None
    model = cost_model(works, snapshot, options.data_dir, resources, unknown)
    plan = price_alike(works, model, Slots(1), resources)
    return [Forecast(count, "GPUs", estimate(replace(plan, slots=Slots(count)))) for count in counts]


# --- in words ---------------------------------------------------------------------------------------------------------


def in_words(every: Sequence[Forecast], label: Callable[[str], str], address: str = "local") -> list[str]:
    """Lines of text. label: what tells a trial, given by its id, from the others. address: where the run would be."""
    here, *on_gpus = every
    elsewhere = "" if address == "local" else f" of this machine, not of the cluster at {address}"
    lines = [f"time: about {_about(here)}{elsewhere} (basis: {here.estimate.basis})"]
    if here.estimate.critical:
        lines.append(_path(here.estimate.critical, label))
    if here.estimate.seconds < WORTH_A_TABLE or not on_gpus:
        return lines
    rows = [
        [
            str(f.count),
            seconds_in_words(f.estimate.seconds),
            seconds_in_words(f.estimate.bound),
            f"{f.estimate.seconds / f.estimate.bound:.2f}",
        ]
        for f in on_gpus
    ]
    last = on_gpus[-1].estimate
    lines += ["", f"on GPUs, simulated (basis: {last.basis}):"]
    lines.append(text_table(["GPUs", "time", "bound", "time/bound"], rows).rstrip())
    lines.append("bound: the larger of the critical path and all work spread evenly")
    return lines + ([_path(last.critical, label)] if last.critical else [])


def _about(here: Forecast) -> str:
    return f"{seconds_in_words(here.estimate.seconds)} on {counted(here.count, here.unit.removesuffix('s'))}"


def _path(path: CriticalPath, label: Callable[[str], str]) -> str:
    stages = ", then ".join(f"{stage} {seconds_in_words(seconds)}" for stage, seconds in path.stages)
    return f"critical path: {seconds_in_words(path.seconds)} ({stages}) of {path.trial[:8]} {label(path.trial)}"
