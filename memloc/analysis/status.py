"""How far a sweep is, from the store alone: commits, failures, and the heartbeats of whoever is at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memloc.store import Snapshot, Store, records

STATES = ("done", "running", "pending", "failed")


def sweep_status(store: Store, sweep: str | None, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """{"counts": {state: trials}, "stages": {stage: {state: analyses}}, "failures": […]} of one sweep, or of all.

    A trial is done when its training and all its analyses of the sweep are.
    """
    snapshot = snapshot or store.snapshot()
    found = records.read_sweep(store.files, sweep) if sweep is not None else records.read_sweeps(store.files)
    trials = records.merged_trials(found)
    failures = {i: f for i, f in records.read_failures(store.files).items() if i not in snapshot.commits}
    heartbeats = records.read_heartbeats(store.files)
    counts = dict.fromkeys(STATES, 0)
    stages: dict[str, dict[str, int]] = {}
    for trial in trials:
        states = _stage_states(trial, snapshot, failures, heartbeats.get(trial["trial"]))
        for stage, state in states:
            stages.setdefault(stage, dict.fromkeys(STATES, 0))[state] += 1
        counts[_trial_state([state for _, state in states], trial["trial"] in heartbeats)] += 1
    known = {i for t in trials for i in [t["trial"], *(p for a in t["analyses"] for p in a["parts"])]}
    return {"counts": counts, "stages": stages, "failures": [_failure(f) for i, f in failures.items() if i in known]}


def _stage_states(
    trial: Mapping[str, Any], snapshot: Snapshot, failures: Mapping[str, Any], heartbeat: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    at_work = heartbeat["stage"] if heartbeat else None
    units = [("train", [trial["trial"]]), *((a["stage"], a["parts"]) for a in trial["analyses"])]
    states = []
    for stage, parts in units:
        if snapshot.complete(parts):
            state = "done"
        elif any(p in failures for p in parts):
            state = "failed"
        else:
            state = "running" if stage == at_work else "pending"
        states.append((stage, state))
    return states


def _trial_state(states: list[str], at_work: bool) -> str:
    if all(state == "done" for state in states):
        return "done"
    if at_work:
        return "running"
    return "failed" if "failed" in states else "pending"


def _failure(record: Mapping[str, Any]) -> dict[str, Any]:
    lines = record["traceback"].strip().splitlines()
    return {**record, "error": lines[-1] if lines else ""}
