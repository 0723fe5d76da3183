"""The trainings of a store or a sweep, the fields in which they differ, and how far each is. It needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memloc import sweep as sweeps
from memloc.analysis.resolvable import resolve_trainings
from memloc.analysis.sweep_records import current_of
from memloc.analysis.trial_states import Trial, TrialState, open_failures, trial_states
from memloc.config import TrainConfig, canonical
from memloc.stages import REGISTRY
from memloc.store import Snapshot, Store


@dataclass(frozen=True)
class ListedTrial:
    """A training and how far it is: its state, those of its stages, its epoch."""

    trial: str
    config: TrainConfig
    progress: TrialState

    def as_json(self) -> dict[str, Any]:
        """The training as `memloc trials --json` prints it: its id, how far it is, and the fields that it uses."""
        return {
            **self.config.flat(),
            "trial": self.trial,
            "state": self.progress.state,
            "epoch": self.progress.epoch,
            "stopped": self.progress.stopped,
            "stages": [{"stage": stage, "state": state} for stage, state in self.progress.stages],
            "blocks": list(self.progress.trial["blocks"]),
        }


def list_trials(store: Store, sweep: str | None = None, only: Sequence[str] = ()) -> list[ListedTrial]:
    """The trainings of one sweep, or of all sweeps and all other commits, in the order of their records.

    Args:
        only: filters `FIELD=V,V` as in `memloc sweep --only`; all must hold.

    Raises:
        UsageError: where there is no such sweep, or a filter is not valid.

    Warns:
        MemlocWarning: naming the trainings that this version of memloc cannot resolve; they are left out.
    """
    snapshot = store.snapshot()
    trials = {t["trial"]: t for t in _trials(store, sweep, snapshot)}
    configs = resolve_trainings(store, {trial: t["config"] for trial, t in trials.items()})
    entries = [sweeps.Entry(c, [], list(trials[i]["blocks"]), {"": i}) for i, c in configs.items()]
    kept = {entry.where[""]: entry.config for entry in sweeps.only(entries, only, REGISTRY)}
    states = trial_states(store, [trials[i] for i in kept], snapshot, open_failures(store, snapshot))
    return [ListedTrial(i, config, s) for (i, config), s in zip(kept.items(), states, strict=True)]


def _trials(store: Store, sweep: str | None, snapshot: Snapshot) -> list[Trial]:
    if sweep is not None:
        return list(current_of(store, sweep, snapshot).trials)
    recorded = list(current_of(store, None, snapshot).trials)
    known = {t["trial"] for t in recorded}
    rest = sorted(c.trial for c in snapshot.trainings().values() if c.trial not in known)
    configs = {trial: snapshot.commits[trial].config for trial in rest}
    return recorded + [{"trial": i, "config": configs[i], "blocks": [], "analyses": []} for i in rest]


def differing_fields(configs: Sequence[TrainConfig]) -> list[str]:
    """The flat fields in which trainings differ; data set and model if they are all alike.

    It is no difference if one training does not use a field and another one has the field's neutral value.
    """
    rows = [canonical(config) for config in configs]
    order = dict.fromkeys(name for config in configs for name in config.flat())
    differing = [name for name in order if any(repr(row.get(name)) != repr(rows[0].get(name)) for row in rows)]
    return differing or ["dataset", "model"]
