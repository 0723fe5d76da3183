"""What inline and Ray have in common: what an executor offers, and the course of a launch."""

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

    device: the kind of device that computes. shares: the shares of a slot that a training and a task hold; None: as many
    CPUs as a training has threads. here: everything runs on this machine, so an unknown network can be timed.
    """

    device: Literal["cpu", "cuda"]
    slots: Slots
    shares: Resources | None = None
    here: bool = True


class Executor(AbstractContextManager["Executor"], Protocol):
    """Carries out trials. Entering it starts Ray or connects to a cluster, if it needs one; leaving it ends that."""

    def capacity(self, works: Sequence[Work]) -> Capacity:
        """What the executor offers for these works; raises UsageError if one of them needs more."""

    def carry_out(
        self, works: Sequence[Work], plan: PricedPlan, listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Does the work in the plan's order. Once `should_stop` is true, only the running epochs and parts are completed."""


class Observer(Protocol):
    """Watches a launch: it gets the priced plan, then every event."""

    def planned(self, plan: PricedPlan) -> None:
        """The work begins by this plan."""

    def __call__(self, event: Event) -> None:
        """Something has happened."""


def execute(
    works: Sequence[Work],
    executor: Executor,
    price: Callable[[Capacity], PricedPlan],
    observers: Sequence[Observer],
    should_stop: Callable[[], bool],
) -> Outcome:
    """Carries out the works on the executor. price: prices them for the executor's capacity.

    Raises:
        UsageError: the executor cannot start, or a trial needs more than it offers.
    """
    outcome = Outcome()

    def listen(event: Event) -> None:
        if event.kind == "failed":
            outcome.failed.append(event)
        if event.kind == "gave_up":
            outcome.storage = outcome.storage or event.error
        for observer in observers:
            observer(event)

    with executor:
        if not should_stop():
            plan = price(executor.capacity(works))
        if not should_stop():
            for observer in observers:
                observer.planned(plan)
            executor.carry_out(works, plan, listen, lambda: should_stop() or bool(outcome.storage))
    outcome.interrupted = should_stop()
    return outcome
