"""Where a trial's work may run: what it demands, what a cluster offers, and what its coordinator must know.

No Ray here, and at import no torch: a coordinator imports this, and there may be a hundred of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from memloc.errors import UsageError
from memloc.run.fanout import Cost

if TYPE_CHECKING:
    from memloc.run.pending import Work
    from memloc.run.schedule import TrialCost

# Asks Ray to leave CUDA_VISIBLE_DEVICES alone; a process picks its GPU by number instead (`visible_index`).
NOSET = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"

Node: TypeAlias = dict[str, float]  # what a node has: CPU, GPU, …
Demand: TypeAlias = dict[str, float]  # what a process holds, as Ray's options say it: num_cpus, num_gpus


@dataclass(frozen=True)
class Resources:
    """Where to run. address: local, auto or HOST:PORT. cpus, gpus: bounds of local capacity (None: all there are)."""

    address: str = "local"
    cpus: int | None = None
    gpus: int | None = None
    gpus_per_trial: float = 1.0
    gpus_per_task: float = 0.5


@dataclass(frozen=True)
class AssignedPart(Cost):
    """A part as the coordinator sees it. needs: parts that must have succeeded before."""

    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assignment:
    """What a coordinator needs to know of its trial.

    job: reference to what the computing processes need. trainer, task: what one of them holds. trainings, tasks: how
    many of each the cluster can run at once.
    """

    run: str
    uri: str
    trial: str
    trains: bool
    prunes: bool
    waves: tuple[tuple[AssignedPart, ...], ...]
    job: Any
    trainer: Demand
    task: Demand
    trainings: int
    tasks: int


def assign(
    work: Work, cost: TrialCost, uri: str, run: str, job: Any, nodes: Sequence[Node], resources: Resources
) -> Assignment:
    """The assignment of one trial, of this cost, on these nodes.

    Raises:
        UsageError: where a process of it needs more than any node has.
    """
    from memloc.run.pending import needs

    trainer, task = demands(work, nodes, resources)
    trainings, tasks = fitting(nodes, trainer), fitting(nodes, task)
    if not trainings or not tasks:
        raise UsageError(_too_large(nodes, trainer, task))
    needed = {analysis.id: tuple(needs(work.trial, analysis)) for analysis, _, _ in work.parts}
    parts = tuple(tuple(AssignedPart(**asdict(c), needs=needed[c.analysis]) for c in wave) for wave in cost.waves)
    return Assignment(
        run, uri, work.trial.id, work.train != "done", work.prune, parts, job, trainer, task, trainings, tasks
    )  # fmt: skip


def demands(work: Work, nodes: Sequence[Node], resources: Resources) -> tuple[Demand, Demand]:
    """What the trainer and a task hold: shares of a GPU where there is any, else the configured threads."""
    if has_gpus(nodes):
        trainer, task = resources.gpus_per_trial, resources.gpus_per_task
        return {"num_gpus": trainer, "num_cpus": 0.0}, {"num_gpus": task, "num_cpus": 0.0}
    cpus = {"num_cpus": float(work.trial.config.threads), "num_gpus": 0.0}
    return cpus, cpus


def has_gpus(nodes: Sequence[Node]) -> bool:
    return any(node.get("GPU", 0.0) for node in nodes)


def fitting(nodes: Sequence[Node], demand: Demand) -> int:
    """How many of these processes fit on the nodes at once, each on one node."""
    total = 0
    for node in nodes:
        wanted = [(node.get("CPU", 0.0), demand["num_cpus"]), (node.get("GPU", 0.0), demand["num_gpus"])]
        total += min((int(has / amount + 1e-9) for has, amount in wanted if amount), default=0)
    return total


def _too_large(nodes: Sequence[Node], trainer: Demand, task: Demand) -> str:
    if trainer["num_gpus"]:
        most = max(node.get("GPU", 0.0) for node in nodes)
        asked = f"--gpus-per-trial {trainer['num_gpus']:g}, --gpus-per-task {task['num_gpus']:g}"
        return f"{asked}: no node has that; valid: above 0, at most {most:g}"
    most = max(node.get("CPU", 0.0) for node in nodes)
    return f"threads: {trainer['num_cpus']:g} is more than any node's CPUs; valid: 1 to {most:g} (see --cpus)"


def visible_index(gpu: str, visible: str | None) -> int:
    """By which number a process knows the GPU that Ray calls `gpu`. visible: its CUDA_VISIBLE_DEVICES, None where unset."""
    return visible.split(",").index(gpu) if visible else int(gpu)
