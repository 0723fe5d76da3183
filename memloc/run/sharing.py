"""Two drivers on one store share the work: what one finds in the hands of the other, it looks at again when it is free."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from memloc.config.retention import Retention
from memloc.run.pending import Work, pending
from memloc.run.plan import Plan
from memloc.store import Store, leases
from memloc.store.future_dates import Watch

LOOK_SECONDS = 3.0  # between two looks at the leases of others


@dataclass(frozen=True)
class Shared:
    """The trials of a launch that other drivers may be at work on. numerics: as `pending` takes it."""

    plan: Plan
    store: Store
    retention: Retention
    numerics: str | None

    def left(self, elsewhere: set[str], should_stop: Callable[[], bool]) -> list[Work]:
        """The work that is left of these trials, once another driver has given one of them up; nothing if all get done.

        Raises:
            StorageError: the storage has failed for longer than the store has patience.
        """
        waiting, watch = set(elsewhere), Watch()
        while waiting and not should_stop():
            free = waiting - leases.held_among(self.store.files, waiting, watch).keys()
            if free:
                works = self._works(waiting)
                if any(work.trial.id in free for work in works):
                    return works
                waiting = {work.trial.id for work in works}
            else:
                time.sleep(LOOK_SECONDS)
        return []

    def _works(self, trials: set[str]) -> list[Work]:
        plan = replace(self.plan, trials=tuple(trial for trial in self.plan.trials if trial.id in trials))
        works = pending(plan, self.store, self.store.snapshot(), self.retention, numerics=self.numerics)
        return [work for work in works if work.anything]
