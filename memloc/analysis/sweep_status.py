"""How far a sweep is, from the store alone: commits, failures, checkpoints, and the heartbeats of whoever is at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memloc.analysis.run_status import runs_at_work, runs_on, trials_at_work
from memloc.analysis.stopped import stopped_trainings
from memloc.analysis.superseded import current, in_order
from memloc.analysis.sweep_records import contents_of, moment
from memloc.analysis.trial_states import STATES, Trial, TrialState, open_failures, trial_states, units
from memloc.store import Snapshot, Store, heartbeats


def sweep_status(store: Store, sweep: str | None, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """How far one sweep is, or all of them.

    Returns:
        {"counts": {state: trials}, "stages": {stage: {state: analyses}}, "failures": […], "progress": {stage: {"parts",
        "parts_done"}}, "waiting": [{"block", "stage", "trials"}], "superseded": {"trainings", "analyses"},
        "partial": [{"trial", "epoch", "epochs"}], "stopped": […], "runs": […], "at_work": […], "eta_seconds",
        "launched": {NAME@sha8: moment}}. A trial is
        done when its training and all its analyses of the sweep are done and no analysis waits. An analysis waits for
        C-scores that were not there when the sweep was last launched.
        superseded: what older records of a name ask for in vain (analysis/superseded.py); it is not counted.
        partial: trainings that have begun and are not committed, also while nobody works on them. stopped: as
        `stopped_trainings`; an analysis that was not run for that reason is done. runs, at_work: see `analysis.run_status`.
        launched: when each record was first launched (analysis/superseded.py), in ISO 8601.
        eta_seconds: until all runs at work are done; None if there is no run, or if the time of one of them is unknown.
    """
    snapshot = snapshot or store.snapshot()
    contents = contents_of(store, sweep)
    planned = current(contents, snapshot)
    trials = planned.trials
    failures = open_failures(store, snapshot)
    beats, runs = heartbeats.read(store.files)
    states = trial_states(store, trials, snapshot, failures, beats)
    stages: dict[str, dict[str, int]] = {}
    for stage, state in (unit for one in states for unit in one.stages):
        stages.setdefault(stage, dict.fromkeys(STATES, 0))[state] += 1
    own = {one.trial["trial"]: one.heartbeat for one in states if one.heartbeat is not None and one.state != "done"}
    at_work = runs_at_work(store, runs_on(runs, own, [f"{r.name}@{r.sha}" for r in contents]), beats, snapshot, failures)
    known = {i for t in trials for _, parts in units(t) for i in parts}
    return {
        "counts": dict.fromkeys(STATES, 0) | Counter(one.state for one in states),
        "stages": stages,
        "failures": [_failure(f) for i, f in failures.items() if i in known],
        "progress": _progress(trials, snapshot),
        "waiting": _waiting(trials),
        "superseded": planned.left_out,
        "partial": _partial(states),
        "stopped": stopped_trainings(trials, snapshot.commits),
        "runs": at_work,
        "at_work": trials_at_work(own),
        "eta_seconds": _last([run["eta_seconds"] for run in at_work]),
        "launched": {f"{record.name}@{record.sha}": moment(date) for record, date in in_order(contents, snapshot)},
    }


def counts(store: Store, trials: Mapping[str, Sequence[Trial]], snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """{name: {state: trials}} of many sweeps, each with its trials. Failures, heartbeats and checkpoints are read once."""
    names = [name for name, own in trials.items() for _ in own]
    every = [trial for own in trials.values() for trial in own]
    states = trial_states(store, every, snapshot, open_failures(store, snapshot))
    pairs = Counter((name, one.state) for name, one in zip(names, states, strict=True))
    return {name: {state: pairs[name, state] for state in STATES} for name in trials}


def _last(etas: Sequence[float | None]) -> float | None:
    known = [eta for eta in etas if eta is not None]
    return max(known) if known and len(known) == len(etas) else None


def _partial(states: Iterable[TrialState]) -> list[dict[str, Any]]:
    """The trainings that have a state to go on from and no commit."""
    return [
        {"trial": one.trial["trial"], "epoch": one.epoch, "epochs": one.epochs} for one in states if one.reached is not None
    ]


def _progress(trials: Iterable[Trial], snapshot: Snapshot) -> dict[str, dict[str, int]]:
    """Per stage: its parts, and those that are committed."""
    parts: dict[str, list[str]] = {}
    for stage, ids in (unit for trial in trials for unit in units(trial)):
        parts.setdefault(stage, []).extend(ids)
    return {s: {"parts": len(ids), "parts_done": sum(map(snapshot.commits.__contains__, ids))} for s, ids in parts.items()}


def _waiting(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """The waiting analyses: each block and stage once, with the number of trials."""
    trials_waiting = Counter((w["block"], w["stage"]) for trial in trials for w in trial["waiting"])
    return [{"block": block, "stage": stage, "trials": n} for (block, stage), n in trials_waiting.items()]


def _failure(record: Mapping[str, Any]) -> dict[str, Any]:
    """A failure record. Those of earlier versions have no line for the error: it is the last one of the traceback."""
    lines = record["traceback"].strip().splitlines() or [""]
    return {"error": lines[-1], **record}
