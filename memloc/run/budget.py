"""How many bytes the checkpoints of a store may take: what nothing planned needs goes, and then the launch stops."""

from __future__ import annotations

from contextlib import suppress

from memloc.errors import StoreError
from memloc.run.clock import PricedPlan
from memloc.run.events import Event
from memloc.run.plan import Plan
from memloc.run.quantities import checkpoint_bytes
from memloc.sizes import bytes_in_words
from memloc.store import Commit, Store, checkpoints, layout, records


class CheckpointBudget:
    """An observer that watches the bytes of `checkpoints/`. Beyond the limit it removes some, the oldest first.

    Of a trial whose training and analyses are all committed only the last checkpoint stays then, if that holds for every
    sweep that the store has a record of, as for `gc`. An analysis that is planned later trains it again. fault: why the
    launch has to stop, once nothing more can be removed; else empty. plan: of the whole sweep. most: bytes.
    """

    def __init__(self, plan: Plan, store: Store, most: int) -> None:
        self.fault = ""
        self._store, self._most = store, most
        self._trials = {trial.id: trial for trial in plan.trials}
        self._pruned: set[str] = set()
        self._others = ""  # what of other sweeps keeps checkpoints, as the end of a sentence
        self._bytes = 0.0  # what was counted last, and what the epochs since then have written

    def planned(self, plan: PricedPlan) -> None:
        """Counts before the work begins."""
        self._look()

    def __call__(self, event: Event) -> None:
        if event.kind == "epoch" and event.metrics:
            trial = self._trials[event.trial]
            self._bytes += checkpoint_bytes(trial, "all") / (trial.config.epochs + 1)
        if self._bytes > self._most and not self.fault and event.kind in ("epoch", "trained", "finished"):
            self._look()

    def _look(self) -> None:
        """Counts, and removes what is too much. If the storage fails, the next event counts again."""
        with suppress(StoreError):
            self._bytes = self._count()
            for trial in self._finished() if self._bytes > self._most else ():
                before = self._count(trial.id)
                self._prune(trial)
                self._bytes -= before - self._count(trial.id)
                if self._bytes <= self._most:
                    return
            if self._bytes > self._most:
                self.fault = (
                    f"store {self._store.uri}: its checkpoints take {bytes_in_words(self._bytes)}, more than "
                    f"--max-checkpoint-bytes {bytes_in_words(self._most)}; work under way needs what is left{self._others}"
                )

    def _count(self, trial: str | None = None) -> float:
        """The bytes of all checkpoints, or of those of a training: all are listed once, not again for each that goes."""
        folder = layout.CHECKPOINTS if trial is None else layout.checkpoints(trial)
        return float(sum(self._store.files.listing(folder).values()))

    def _finished(self) -> list[Commit]:
        """The trainings whose checkpoints can go, the oldest first."""
        sweeps, unread = records.read_all(self._store.files)
        if unread:
            self._others = f"; {unread[0]} cannot be read, so nobody knows what it needs; launch that sweep again"
            return []
        snapshot = self._store.snapshot()
        commits, begun = snapshot.commits, records.unfinished(sweeps, snapshot)
        done = [t for t in self._trials.values() if not t.unmet and all(part in commits for part in t.part_ids)]
        kept = sorted({begun[t.id] for t in done if t.id in begun})
        self._others = f", and so does {', '.join(kept)}, which is not complete" if kept else ""
        gone = self._pruned | begun.keys()
        return sorted((commits[t.id] for t in done if t.id not in gone), key=lambda commit: commit.ended)

    def _prune(self, training: Commit) -> None:
        checkpoints.prune(self._store.files, training.id, training.checkpoints, {training.checkpoints[-1].epoch})
        checkpoints.prune_states(self._store.files, training.id)
        self._pruned.add(training.id)
