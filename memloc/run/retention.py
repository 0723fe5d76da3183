"""Which checkpoints of a training stay, which are lost, and which are removed once its analyses are done."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from memloc.config.retention import Retention
from memloc.run.plan import TrialPlan
from memloc.store import Commit, Store, checkpoints

if TYPE_CHECKING:
    from memloc.run.pending import Work


def kept_epochs(trial: TrialPlan, retention: Retention) -> set[int]:
    """The checkpoints that stay after all analyses are done. retention: for all trainings; None: as their blocks choose.

    If the user has not chosen, a held-out training keeps what its analyses read, usually its last epoch: there are hundreds
    of such trainings, and they serve C-scores alone (docs/tables.md). Every other training keeps all. The last epoch may be
    that at which `stop` ends the training, so this one stays too.
    """
    last, rule, there = trial.config.epochs, trial.config.stop_rule, set(trial.config.checkpoint_epochs)
    ends = {last} if rule is None else {last, rule.at_epoch}
    retention = retention or trial.checkpoints
    if retention is None and trial.config.held_out and not trial.unmet:
        return ends | trial.epochs_read()
    if retention in (None, "all") or trial.unmet:  # it is not known yet what the unmet analyses will read
        return there
    if retention != "rewound":
        return ends
    return ({0, *ends} & there) | {t for a in trial.analyses for t in a.kind.keeps(a.config)}


def lost_epochs(commit: Commit, sizes: Mapping[str, int], needed: set[int], pruned: set[int]) -> set[int]:
    """The committed checkpoints that are missing or damaged, except pruned ones that are not needed."""
    missing = {c.epoch for c in commit.checkpoints if sizes.get(c.path) != c.size}
    return unintended(missing, needed, pruned)


def unintended(missing: Collection[int], needed: Collection[int], pruned: Collection[int]) -> set[int]:
    """The epochs among the missing ones that were not pruned, or are needed all the same."""
    return {t for t in missing if t in needed or t not in pruned}


def prune(store: Store, work: Work) -> None:
    """Removes the checkpoints and states that are no longer needed, once everything of the trial is committed."""
    commit = store.commit(work.trial.id)
    if work.prune and commit is not None:
        checkpoints.prune_states(store.files, work.trial.id)  # needs no record, so it makes room on a full disk
        checkpoints.prune(store.files, work.trial.id, commit.checkpoints, work.keep)
