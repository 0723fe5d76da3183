"""The state of each trial of a sweep's records, from the store alone: commits, failures, heartbeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from memloc.analysis.run_status import Heartbeat
from memloc.analysis.stopped import stopped_at_of
from memloc.store import Commit, Snapshot, Store, heartbeats, layout, records
from memloc.store.resumable import reached_epoch

STATES = ("done", "running", "pending", "failed")
Trial: TypeAlias = Mapping[str, Any]  # as a sweep record holds it
Failures: TypeAlias = Mapping[str, Mapping[str, Any]]  # {part id: its newest failure record}


@dataclass(frozen=True)
class TrialState:
    """A trial, its own state, and its heartbeat if it has one.

    stages: (stage, state) of its training and of each analysis, in order. A trial is done when its training and all its
    analyses are done and none waits for C-scores that were not there when the sweep was last launched. reached: the epoch of
    the newest state to go on from of a training that has begun and is not committed. stopped: the epoch at which `stop` has
    ended the training, if it has.
    """

    trial: Trial
    stages: tuple[tuple[str, str], ...]
    state: str
    heartbeat: Heartbeat | None
    reached: int | None = None
    stopped: int | None = None

    @property
    def waits(self) -> bool:
        """Whether a run has begun the trial and nothing of it has a place yet."""
        return self.heartbeat is not None and self.heartbeat.get("state") == "waiting"

    @property
    def last_epoch(self) -> int:
        """The epoch after which its training ends. Training again ends after the last lost checkpoint."""
        heartbeat = self.heartbeat or {}
        last = heartbeat.get("epochs") if heartbeat.get("replays") else None
        return self.epochs if last is None else int(last)

    @property
    def epochs(self) -> int:
        """The epochs that its configuration names; 0 where it names none."""
        epochs = self.trial["config"].get("epochs")
        return epochs if isinstance(epochs, int) else 0

    @property
    def epoch(self) -> int | None:
        """The epoch that the training has reached; None if it is committed or has not begun."""
        running = ("train", "running") in self.stages
        said = self.heartbeat.get("epoch") if running and self.heartbeat else None
        return self.reached if said is None else said


def trial_states(
    store: Store,
    trials: Iterable[Trial],
    snapshot: Snapshot,
    failures: Failures,
    beats: Mapping[str, Heartbeat] | None = None,
) -> list[TrialState]:
    """The state of every trial. failures: as `open_failures`. beats: {trial: its heartbeat}, by default read."""
    beats = heartbeats.read(store.files)[0] if beats is None else beats
    trials = list(trials)
    reached = _reached(store, [t for t in trials if t["trial"] not in snapshot.commits])
    return [
        replace(_trial_state(t, snapshot, failures, beats.get(t["trial"])), reached=reached.get(t["trial"])) for t in trials
    ]


def _reached(store: Store, untrained: Sequence[Trial]) -> dict[str, int]:
    """{trial: the epoch of its newest state to go on from} of those that have one."""
    if not untrained:
        return {}
    paths = layout.by_trial(store.files.listing(layout.CHECKPOINTS))
    reached = {t["trial"]: reached_epoch(t["trial"], paths.get(t["trial"], ())) for t in untrained}
    return {trial: epoch for trial, epoch in reached.items() if epoch}


def open_failures(store: Store, snapshot: Snapshot) -> Failures:
    """{part id: its newest failure record} of the parts that have not been committed since.

    A record that bears a trial's own id stays open after the training's commit if it is younger: it is of training again, or
    of the trial as a whole.
    """
    return {i: f for i, f in records.read_failures(store.files).items() if _is_open(f, snapshot.commits.get(i))}


def _is_open(failure: Mapping[str, Any], commit: Commit | None) -> bool:
    return commit is None or (failure["id"] == failure["trial"] and failure["when"] > commit.ended)


def units(trial: Trial) -> list[tuple[str, list[str]]]:
    """(stage, its parts) of the training, which is one part, and of every analysis."""
    return [("train", [trial["trial"]]), *((a["stage"], a["parts"]) for a in trial["analyses"])]


def _trial_state(trial: Trial, snapshot: Snapshot, failures: Failures, heartbeat: Heartbeat | None) -> TrialState:
    """What a trial is doing. One that waits for a place is pending: nothing of it runs."""
    heartbeat = heartbeat or {}
    runs = heartbeat.get("state") != "waiting"
    at_work = heartbeat.get("stages", ()) if runs else ()
    stages = tuple((stage, _unit_state(parts, snapshot, failures, stage in at_work)) for stage, parts in units(trial))
    if heartbeat.get("replays") and "train" in at_work:
        stages = (("train", "running"), *stages[1:])  # though it is committed
    states = {state for _, state in stages} | ({"pending"} if trial.get("waiting") else set())
    if states == {"done"}:
        state = "done"
    elif heartbeat and runs:
        state = "running"
    else:
        state = "failed" if not heartbeat and "failed" in states else "pending"
    return TrialState(trial, stages, state, heartbeat or None, stopped=stopped_at_of(trial, snapshot.commits))


def _unit_state(parts: Sequence[str], snapshot: Snapshot, failures: Failures, at_work: bool) -> str:
    """The state of a training or an analysis. A failure of a committed training is one of training it again."""
    if failures and any(part in failures for part in parts):
        return "failed"
    if snapshot.complete(parts):
        return "done"
    return "running" if at_work else "pending"
