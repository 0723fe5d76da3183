"""Where a trial's work may run: its demands, the offer of a cluster, and the assignment of a coordinator.

No Ray here, and no torch at import: every coordinator imports this, and there may be a hundred of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from memloc.errors import UsageError
from memloc.run.events import Room
from memloc.run.kinds import Home, Kind
from memloc.run.schedule import Slots
from memloc.run.trial_run import TrialSteps

if TYPE_CHECKING:
    from memloc.run.pending import Work
    from memloc.store.leases import Holder

# Ask Ray to leave CUDA_VISIBLE_DEVICES and, for AMD's cards, HIP_VISIBLE_DEVICES alone; a process picks its GPU by number
# instead (`visible_index`).
NOSET = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1", "RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES": "1"}

Node: TypeAlias = dict[str, float]  # what a node has: CPU, GPU, …
Demand: TypeAlias = dict[str, float]  # what a process holds, as Ray's options: num_cpus, num_gpus


@dataclass(frozen=True)
class Resources:
    """Where to run. address: local, auto or HOST:PORT. cpus, gpus: bounds of local capacity (None: all there are).

    gpus_per_trial, gpus_per_task: the share of a GPU that a training and a task hold, at most 1. By default one process at a
    time has a card: two that share it only take turns, and each keeps a context and memory. device: `cpu` leaves GPUs alone,
    `cuda` asks for some; None: GPUs where there are any.
    """

    address: str = "local"
    cpus: int | None = None
    gpus: int | None = None
    gpus_per_trial: float = 1.0
    gpus_per_task: float = 1.0
    device: Literal["cpu", "cuda"] | None = None


ONE_BY_ONE = Resources()  # every process holds the whole of the only slot


@dataclass(frozen=True)
class Assignment:
    """What a coordinator needs to know about its trial.

    steps: the work. run: the run whose order to stop it obeys. patience: as `Job` has it. holder: of the trial's lease. job:
    a reference to the `Job` of the processes that compute.
    home: where it must run to reach the same bits. kinds: {node: its kind of device}, of the nodes that were asked. until:
    when a wait for a kind that no node has ends, in seconds since 1970. trainer, task: the demand of one of each. trainings,
    tasks: how many of each the cluster can run at once.
    """

    steps: TrialSteps
    run: str
    uri: str
    patience: float
    holder: Holder | None
    job: Any
    trainer: Demand
    task: Demand
    trainings: int
    tasks: int
    home: Home = field(default_factory=Home)
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    until: float = 0.0


def check_capacity(works: Iterable[Work], nodes: Sequence[Node], resources: Resources) -> None:
    """Raises UsageError where a process of these works needs more than any node has."""
    if resources.device == "cuda" and not has_gpus(nodes):
        raise UsageError("--device cuda: no node has a GPU; valid: cpu")
    for work in works:
        if work.trial.graphed and not uses_gpus(nodes, resources):
            raise UsageError("--cuda-graphs: no node has a GPU; leave it out")
        trainer, task = demands(work, nodes, resources)
        if not fitting(nodes, trainer) or not fitting(nodes, task):
            raise UsageError(_too_large(nodes, trainer, resources.address))


def slots(nodes: Sequence[Node], resources: Resources) -> Slots:
    """The nodes as the simulation sees them: GPUs, or CPUs by node where all have as many."""
    if uses_gpus(nodes, resources):
        return Slots(max(1, int(sum(node.get("GPU", 0.0) for node in nodes))))
    cpus = [node.get("CPU", 0.0) for node in nodes]
    return Slots(len(cpus), cpus[0]) if len(set(cpus)) == 1 else Slots(1, sum(cpus))


def demands(work: Work, nodes: Sequence[Node], resources: Resources) -> tuple[Demand, Demand]:
    """What the trainer and a task hold: shares of a GPU where there is any, else the configured threads."""
    if uses_gpus(nodes, resources):
        trainer, task = resources.gpus_per_trial, resources.gpus_per_task
        return {"num_gpus": trainer, "num_cpus": 0.0}, {"num_gpus": task, "num_cpus": 0.0}
    cpus = {"num_cpus": float(work.trial.config.threads), "num_gpus": 0.0}
    return cpus, cpus


def with_room(demand: Demand, room: Room) -> Demand:
    """What a process holds whose memory ran out before: a whole card, if it holds a share of one."""
    return {**demand, "num_gpus": 1.0} if room and demand["num_gpus"] else demand


def has_gpus(nodes: Sequence[Node]) -> bool:
    """Whether any node has a GPU, or a place that Ray hands out as one."""
    return any(node.get("GPU", 0.0) for node in nodes)


def uses_gpus(nodes: Sequence[Node], resources: Resources) -> bool:
    """Whether trainings run on GPUs there."""
    return resources.device != "cpu" and has_gpus(nodes)


def fitting(nodes: Sequence[Node], demand: Demand) -> int:
    """How many of these processes fit on the nodes at once, each on one node."""
    total = 0
    for node in nodes:
        wanted = [(node.get("CPU", 0.0), demand["num_cpus"]), (node.get("GPU", 0.0), demand["num_gpus"])]
        total += min((int(has / amount + 1e-9) for has, amount in wanted if amount), default=0)
    return total


def _too_large(nodes: Sequence[Node], trainer: Demand, address: str) -> str:
    most = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
    if most < 1:
        return "no node has a CPU to compute on; start one with `ray start --num-cpus N`"
    see = " (see --cpus)" if address == "local" else ""  # which is for this machine alone
    return f"threads: {trainer['num_cpus']:g} is more than any node's CPUs; valid: 1 to {most:g}{see}"


def visible_index(gpu: str, visible: str | None) -> int:
    """The number, in this process, of the GPU that Ray calls `gpu`. visible: `visible_variable`, None if it is not set."""
    return [name.strip() for name in visible.split(",")].index(gpu.strip()) if visible else int(gpu)


def visible_variable(hip: object) -> str:
    """The variable that says which GPUs a process sees. hip: torch's version of ROCm, None with CUDA."""
    return "HIP_VISIBLE_DEVICES" if hip else "CUDA_VISIBLE_DEVICES"
