"""How long a plan's work will take here, and on so many GPUs: its costs, and the schedule simulated with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memloc.data import describe
from memloc.run.cost import CostModel, Rate, Shape
from memloc.run.pending import Work
from memloc.run.placement import Resources
from memloc.run.plan import TrialPlan
from memloc.run.schedule import CriticalPath, Slots, TrialCost, bound, critical_path, in_order, simulate
from memloc.run.training_step import counted
from memloc.store import Snapshot


@dataclass(frozen=True)
class Estimate:
    """seconds: wall time on the slots. bound: what no schedule can undercut. basis: one phrase on where it comes from."""

    slots: Slots
    seconds: float
    bound: float
    basis: str
    critical: CriticalPath | None


def cost_model(
    works: Sequence[Work],
    snapshot: Snapshot,
    data_dir: Path,
    gpus: Resources | None,
    unknown: Callable[[TrialPlan, Shape], Rate] | None = None,
) -> CostModel:
    """What the works cost by the store's commits.

    gpus: who holds which share of one; None on CPUs. unknown: the training rate of a network that the store does not know,
    by default counted, the whole of a GPU assumed.
    """
    shapes = {name: describe(name, data_dir).shape for name in {w.trial.config.dataset for w in works}}
    if gpus is None:
        return CostModel(snapshot, "cpu", shapes, unknown or (lambda trial, shape: counted(trial, shape, "cpu")))
    trainer, task = min(1.0, gpus.gpus_per_trial), min(1.0, gpus.gpus_per_task)

    def on_its_share(trial: TrialPlan, shape: Shape) -> Rate:
        seconds, basis = counted(trial, shape, "cuda")
        return Rate(seconds / trainer, basis)

    return CostModel(snapshot, "cuda", shapes, unknown or on_its_share, spread=trainer / task)


def trial_costs(works: Sequence[Work], model: CostModel, gpus: Resources | None) -> list[TrialCost]:
    """What each work costs, and what its processes hold: shares of a GPU, or the configured threads."""
    costs = []
    for work in works:
        threads = float(work.trial.config.threads)
        trainer, task = (gpus.gpus_per_trial, gpus.gpus_per_task) if gpus else (threads, threads)
        costs.append(TrialCost(work.trial.id, model.train(work), model.waves(work), trainer, task))
    return costs


def estimate(works: Sequence[Work], model: CostModel, slots: Slots, gpus: Resources | None = None) -> Estimate:
    """The wall time of the work, as run/ray would do it on these slots.

    Raises:
        ValueError: where a process of it fits into no slot.
    """
    trials = in_order(t for t in trial_costs(works, model, gpus) if t.train or any(t.waves))
    if not trials:
        return Estimate(slots, 0.0, 0.0, "nothing to do", None)
    return Estimate(slots, simulate(trials, slots), bound(trials, slots), model.basis(), critical_path(trials))
