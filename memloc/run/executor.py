"""What inline and Ray have in common: what an executor offers, and the course of a launch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from memloc.errors import StorageError
from memloc.run.clock import PricedPlan
from memloc.run.events import Event, Listener, Outcome
from memloc.run.kinds import CardMemory
from memloc.run.pending import Work
from memloc.run.placement import Resources
from memloc.run.schedule import Slots


@dataclass(frozen=True)
class Capacity:
    """What an executor offers.

    device: the kind of device that computes. shares: the shares of a slot that a training and a task hold; None: as many
    CPUs as a training has threads. here: everything runs on this machine, so an unknown network can be timed. card: the GPU
    with the least memory of a cluster; None if no node has said what it has.
    """

    device: Literal["cpu", "cuda"]
    slots: Slots
    shares: Resources | None = None
    here: bool = True
    card: CardMemory | None = None


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


Price: TypeAlias = Callable[[Sequence[Work], Capacity], PricedPlan]
# Waits until there is something to do again for trials at which other drivers were at work, and gives what is left of them.
Again: TypeAlias = Callable[[set[str], Callable[[], bool]], Sequence[Work]]


def no_more(elsewhere: set[str], should_stop: Callable[[], bool]) -> Sequence[Work]:
    """What other drivers do is left to them."""
    return ()


@contextmanager
def _ending_with_the_storage(outcome: Outcome) -> Iterator[None]:
    """A fault of the storage that the driver itself meets ends the launch in good order, as one of a trial does."""
    try:
        yield
    except StorageError as fault:
        outcome.storage = outcome.storage or str(fault)


def execute(
    works: Sequence[Work],
    executor: Executor,
    price: Price,
    observers: Sequence[Observer],
    should_stop: Callable[[], bool],
    again: Again = no_more,
) -> Outcome:
    """Carries out the works on the executor, round after round while other drivers leave something to do.

    price: prices works for the executor's capacity. again: called with the trials at which others are at work.

    Raises:
        UsageError: the executor cannot start, or a trial needs more than it offers. RayLostError: Ray does not come up.
    """
    outcome = Outcome()

    def listen(event: Event) -> None:
        if event.kind == "failed":
            outcome.failed.append(event)
        if event.kind == "gave_up":
            outcome.storage = outcome.storage or event.error
        if event.kind == "no_card":
            outcome.no_card = outcome.no_card or event.error
        if event.kind == "elsewhere":
            outcome.elsewhere.add(event.trial)
        for observer in observers:
            observer(event)

    def ends() -> bool:
        return should_stop() or bool(outcome.storage or outcome.no_card)

    with executor, _ending_with_the_storage(outcome):
        while works and not should_stop():
            plan = price(works, executor.capacity(works))
            if should_stop():
                break
            outcome.elsewhere.clear()
            for observer in observers:
                observer.planned(plan)
            executor.carry_out(works, plan, listen, ends)
            works = again(set(outcome.elsewhere), ends) if outcome.elsewhere and not ends() else ()
            if not ends():  # others have done the rest
                for trial in sorted(outcome.elsewhere - {work.trial.id for work in works}):
                    listen(Event("finished", trial))
    outcome.interrupted = should_stop()
    return outcome
