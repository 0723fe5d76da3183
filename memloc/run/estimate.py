"""How long a plan's work will take, here or on a number of GPUs: its prices, and a simulated schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memloc.data import describe
from memloc.run.by_shape.elsewhere import NeedsValuesError
from memloc.run.cards import CARDS, Card, card_name
from memloc.run.clock import PricedPlan
from memloc.run.cost import IMAGES, CostModel, Rate, Shape, images_of
from memloc.run.executor import Capacity
from memloc.run.pending import Work
from memloc.run.placement import Resources
from memloc.run.plan import TrialPlan
from memloc.run.rates import card_here, counted_rate, forward_rate, timed, training_rate
from memloc.run.schedule import CriticalPath, Slots, TrialCost, bound, critical_path, in_order
from memloc.run.simulation import simulate
from memloc.store import Snapshot


@dataclass(frozen=True)
class TimeEstimate:
    """seconds: wall time on the slots. bound: no schedule takes less. basis: says in a phrase where the prices come from."""

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
    card: Card | str | None = None,
) -> CostModel:
    """The prices of the works by the store's commits.

    gpus: the shares of a GPU that a training and a task hold; None on CPUs. unknown: gives the training rate of a network
    that the store does not know. By default its operations are counted, and a whole GPU is assumed. card: of the GPUs; the
    commits of others say nothing. A `Card` prices by shape what the store does not know, as far as shapes tell it; a name is
    that of an unknown card.
    """
    sources = {w.trial.config.source for w in works}
    shapes = {images_of(source.flat()): describe(source, data_dir).shape for source in sources}
    if gpus is None:
        rate = unknown or (lambda trial, shape: counted_rate(trial, shape, "cpu"))
        return CostModel(snapshot, "cpu", shapes, rate, largest=IMAGES)
    trainer, task = gpus.gpus_per_trial, gpus.gpus_per_task

    def on_its_share(trial: TrialPlan, shape: Shape) -> Rate:
        rate = _rate(training_rate, trial, shape, card)
        return rate._replace(seconds=rate.seconds / trainer)

    def forward(trial: TrialPlan, shape: Shape) -> Rate:
        rate = _rate(forward_rate, trial, shape, card)
        return rate._replace(seconds=rate.seconds / trainer)

    by_shape = forward if isinstance(card, Card) and unknown is None else None
    name = card.name if isinstance(card, Card) else card
    return CostModel(snapshot, "cuda", shapes, unknown or on_its_share, trainer / task, name, by_shape)


def _rate(
    by_shape: Callable[[TrialPlan, Shape, Card], Rate], trial: TrialPlan, shape: Shape, card: Card | str | None
) -> Rate:
    """The rate of a whole GPU by shape; where the card is unknown, or shapes alone do not tell it, by operations."""
    if isinstance(card, Card):
        with suppress(NeedsValuesError):
            return by_shape(trial, shape, card)
    return counted_rate(trial, shape, "cuda")


def card_of(snapshot: Snapshot) -> Card | str | None:
    """The card that most of a store's commits are from: a known one, or the name of its product; None without any."""
    names = Counter(card_name(str(where.get("device_name", ""))) for where in _on_gpus(snapshot))
    if not names:
        return None
    name = names.most_common(1)[0][0]
    return CARDS.get(name, name or None)


def _on_gpus(snapshot: Snapshot) -> Iterator[Mapping[str, Any]]:
    return (where for where in snapshot.every.said("where") if where.get("device") == "cuda")


def price(works: Sequence[Work], model: CostModel, slots: Slots, shares: Resources | None = None) -> PricedPlan:
    """The works with their prices, in the order in which they begin.

    shares: the shares of a slot that a training and a task hold; None: as many CPUs as the training has threads.
    """
    trials = [_priced(work, model, shares) for work in works]
    return PricedPlan(tuple(in_order(trials)), slots, model.basis(), model.reliable())


def price_alike(works: Sequence[Work], model: CostModel, slots: Slots, shares: Resources | None = None) -> PricedPlan:
    """The same for an estimate: trials that cost the same are one object, which bears the ids of the first of them."""
    known: dict[Hashable, TrialCost] = {}
    trials = []
    for work in works:
        alike = model.alike(work)
        if alike not in known:
            known[alike] = _priced(work, model, shares)
        trials.append(known[alike])
    return PricedPlan(tuple(in_order(trials)), slots, model.basis(), model.reliable())


def _priced(work: Work, model: CostModel, shares: Resources | None) -> TrialCost:
    threads = float(work.trial.config.threads)
    trainer, task = (shares.gpus_per_trial, shares.gpus_per_task) if shares else (threads, threads)
    train, waves = model.train(work), model.waves(work)
    return TrialCost(work.trial.id, train, waves, trainer, task, work.reached, work.until, work.train == "replay")


def price_on(works: Sequence[Work], snapshot: Snapshot, data_dir: Path, capacity: Capacity) -> PricedPlan:
    """The same for the capacity of an executor. A network that the store does not know is timed if it runs here."""
    # Nothing is timed on a GPU: if this process has PyTorch, it would keep the context until it ends.
    can_time = capacity.here and capacity.device == "cpu"
    unknown = (lambda trial, shape: timed(trial, shape, "cpu")) if can_time else None
    shares = capacity.shares if capacity.device == "cuda" else None
    model = cost_model(works, snapshot, data_dir, shares, unknown, card_here() if shares and capacity.here else None)
    return price(works, model, capacity.slots, capacity.shares)


def estimate(plan: PricedPlan) -> TimeEstimate:
    """The wall time of a plan, as run/ray would carry it out.

    Raises:
        ValueError: where a process of it fits into no slot.
    """
    trials = [trial for trial in plan.trials if trial.train or any(trial.waves)]
    if not trials:
        return TimeEstimate(plan.slots, 0.0, 0.0, "nothing to do", None)
    seconds = simulate(trials, plan.slots)
    return TimeEstimate(plan.slots, seconds, bound(trials, plan.slots), plan.basis, critical_path(trials))
