"""What inline and Ray have in common: where trials may run, and how a launch goes whichever of them carries it out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from memloc.run.clock import PricedPlan
from memloc.run.events import Event, Listener, Outcome
from memloc.run.pending import Work
from memloc.run.placement import Resources
from memloc.run.schedule import Slots


@dataclass(frozen=True)
class Capacity:
    """What an executor offers.

    device: on which parts are computed. shares: what of a slot a training and a task hold; None: as many CPUs as a training
    has threads. here: whether this machine is all of it, so that what it does not know can be timed.
    """

    device: Literal["cpu", "cuda"]
    slots: Slots
    shares: Resources | None = None
    here: bool = True


class Executor(AbstractContextManager["Executor"], Protocol):
    """Carries out trials. Entering it starts what it runs on, or connects to it; leaving it ends that."""

    name: str

    def capacity(self, works: Sequence[Work]) -> Capacity:
        """What there is for these works; raises UsageError where one of them needs more."""

    def carry_out(
        self, works: Sequence[Work], plan: PricedPlan, listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Does the work in the plan's order. Once `should_stop` says so, the running epochs and parts end, nothing else."""


class Observer(Protocol):
    """Watches a launch: is told of its plan, then of what happens."""

    def planned(self, plan: PricedPlan) -> None: ...

    def __call__(self, event: Event) -> None: ...


def launch(
    works: Sequence[Work],
    executor: Executor,
    price: Callable[[Capacity], PricedPlan],
    observers: Sequence[Observer],
    should_stop: Callable[[], bool],
) -> Outcome:
    """Carries out the work on the executor, at the prices that it has on what the executor offers.

    Raises:
        UsageError: where the executor cannot start, or a trial needs more than it has.
    """
    outcome = Outcome({})

    def listen(event: Event) -> None:
        if event.kind == "failed":
            outcome.failures[event.part_id] = event.error
        for observer in observers:
            observer(event)

    with executor:
        plan = price(executor.capacity(works))
        for observer in observers:
            observer.planned(plan)
        if not should_stop():
            executor.carry_out(works, plan, listen, should_stop)
    outcome.interrupted = should_stop()
    return outcome
