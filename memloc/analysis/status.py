"""How far a sweep is, from the store alone: commits, failures, and the heartbeats of whoever is at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from memloc.analysis.trial_states import STATES, Heartbeat, Trial, open_failures, trial_states, units
from memloc.store import Snapshot, Store, records


def sweep_status(store: Store, sweep: str | None, snapshot: Snapshot | None = None) -> dict[str, Any]:
    """How far one sweep is, or all of them.

    Returns:
        {"counts": {state: trials}, "stages": {stage: {state: analyses}}, "failures": […], "progress": {stage: {"parts",
        "parts_done", "per_minute", "eta_seconds"}}, "waiting": [{"block", "stage", "trials"}]}. A trial is done when its
        training and all its analyses of the sweep are, and none waits: for C-scores that were not there when the sweep was
        last launched. `per_minute` and `eta_seconds` are None where nobody is at work, or nothing is known.
    """
    snapshot = snapshot or store.snapshot()
    found = records.read_sweep(store.files, sweep) if sweep is not None else records.read_sweeps(store.files)
    trials = records.merged_trials(found)
    failures = open_failures(store, snapshot)
    counts = dict.fromkeys(STATES, 0)
    stages: dict[str, dict[str, int]] = {}
    at_work: list[Heartbeat] = []
    for one in trial_states(store, trials, snapshot, failures):
        counts[one.state] += 1
        for stage, state in one.stages:
            stages.setdefault(stage, dict.fromkeys(STATES, 0))[state] += 1
        if one.heartbeat is not None and one.state == "running":
            at_work.append(one.heartbeat)
    known = {i for t in trials for _, parts in units(t) for i in parts}
    return {
        "counts": counts,
        "stages": stages,
        "failures": [_failure(f) for i, f in failures.items() if i in known],
        "progress": _progress(trials, snapshot, failures, _runs(at_work)),
        "waiting": _waiting(trials),
    }


def _waiting(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """What waits, each block and stage once, with the number of its trials."""
    found = Counter((w["block"], w["stage"]) for trial in trials for w in trial["waiting"])
    return [{"block": block, "stage": stage, "trials": n} for (block, stage), n in found.items()]


def _failure(record: Mapping[str, Any]) -> dict[str, Any]:
    lines = record["traceback"].strip().splitlines()
    return {**record, "error": lines[-1] if lines else ""}


# --- rates ------------------------------------------------------------------------------------------------------------


def _runs(heartbeats: Iterable[Heartbeat]) -> list[Heartbeat]:
    """The newest heartbeat of every run: what a run has done so far stands in each of its heartbeats."""
    newest: dict[str, Heartbeat] = {}
    for heartbeat in sorted(heartbeats, key=lambda h: float(h["updated"])):
        newest[heartbeat.get("run", "")] = heartbeat
    return list(newest.values())


def _progress(
    trials: Sequence[Trial], snapshot: Snapshot, failures: Collection[str], runs: Sequence[Heartbeat]
) -> dict[str, dict[str, Any]]:
    """Per stage: parts, those done, parts per minute of the runs at work, and seconds until the last part is done.

    eta = parts that the runs at work will still do · mean seconds of a part / workers, the latter being the part-seconds
    that a run finished per second.
    """
    parts: dict[str, list[str]] = {}
    to_do: dict[str, int] = {}
    for trial in trials:
        for stage, ids in units(trial):
            left = [i for i in ids if i not in snapshot.commits and i not in failures]
            parts.setdefault(stage, []).extend(ids)
            to_do[stage] = to_do.get(stage, 0) + (len(left) if trial["trial"] not in failures else 0)
    if all("left" in run for run in runs):
        for stage in to_do:  # a run may have been asked for a part of the sweep
            to_do[stage] = min(to_do[stage], sum(run["left"].get(stage, 0) for run in runs))
    workers = sum(max(1.0, _per_second(run, "seconds")) for run in runs)
    found = {}
    for stage, ids in parts.items():
        seconds = 0.0 if to_do[stage] == 0 else _mean_seconds(stage, ids, snapshot, runs)
        rate = 60 * sum(_per_second(run, "parts", stage) for run in runs)
        found[stage] = {
            "parts": len(ids),
            "parts_done": sum(i in snapshot.commits for i in ids),
            "per_minute": rate or None,
            "eta_seconds": to_do[stage] * seconds / workers if runs and seconds is not None else None,
        }
    return found


def _total(run: Heartbeat, what: str, stage: str | None = None) -> float:
    """The `parts` or `seconds` that a run has finished, of one stage or of all."""
    finished = run.get("finished", {})
    return float(sum(sums[what] for name, sums in finished.items() if stage in (None, name)))


def _per_second(run: Heartbeat, what: str, stage: str | None = None) -> float:
    elapsed = run.get("elapsed", 0.0)
    return _total(run, what, stage) / elapsed if elapsed > 0 else 0.0


def _mean_seconds(stage: str, ids: Sequence[str], snapshot: Snapshot, runs: Sequence[Heartbeat]) -> float | None:
    """Seconds of one part: of those the runs finished, else of the sweep's commits, else of the store's."""
    parts = sum(_total(run, "parts", stage) for run in runs)
    if parts:
        return sum(_total(run, "seconds", stage) for run in runs) / parts
    own = [snapshot.commits[i].seconds for i in ids if i in snapshot.commits]
    seconds = own or [c.seconds for c in snapshot.commits.values() if c.stage == stage]
    return sum(seconds) / len(seconds) if seconds else None
