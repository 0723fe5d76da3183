"""The runs at work on a sweep, and how long they will still take, from heartbeats, recorded prices and commits."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from memloc.run.clock import Course, PricedPlan, time_left
from memloc.run.schedule import TrialCost
from memloc.store import Snapshot, Store, heartbeats, stops
from memloc.store.stops import STOPPING

Heartbeat: TypeAlias = Mapping[str, Any]  # see run.pulse.Heartbeats.notes; other versions may lack fields


def runs_at_work(
    store: Store, runs: Sequence[Heartbeat], beats: Mapping[str, Heartbeat], snapshot: Snapshot, failures: Collection[str]
) -> list[dict[str, Any]]:
    """[{"run", "sweep", "host", "state", "heard_seconds_ago", "slots", "eta_seconds"}] of every run.

    runs: their heartbeats. beats: those of trials. state: `starting` until the run hands out work, then `running`;
    `stopping` once it has an order. slots, eta_seconds: None if the run has not written its prices. eta_seconds is also
    None while the pace is unknown, and once the run is stopping: it will not do the rest.
    """
    rows = []
    orders = stops.read(store.files) if runs else {}
    for run in runs:
        plan = PricedPlan.from_json(heartbeats.read_plan(store.files, run["run"]))
        own = {trial: beat for trial, beat in beats.items() if beat.get("run") == run["run"]}
        state = STOPPING if run["run"] in orders else run.get("state", "")
        eta = _eta(plan, Beats(own, run.get("replayed", {})), snapshot, failures) if plan and state != STOPPING else None
        rows.append(
            {
                "run": run["run"],
                "sweep": run.get("sweep", ""),
                "host": run.get("host", ""),
                "state": state,
                "heard_seconds_ago": max(0.0, time.time() - run["updated"]),
                "slots": plan.slots.total if plan else None,
                "eta_seconds": eta,
            }
        )
    return rows


def runs_on(runs: Sequence[Heartbeat], beats: Mapping[str, Heartbeat], names: Collection[str]) -> list[Heartbeat]:
    """The runs that carry out one of these records (NAME@sha8), or are at work on one of these trials.

    beats: {trial: its heartbeat}.
    """
    at_trials = {beat.get("run") for beat in beats.values()}
    return [run for run in runs if run.get("sweep") in names or run["run"] in at_trials]


def trials_at_work(beats: Mapping[str, Heartbeat]) -> list[dict[str, Any]]:
    """[{"trial", "run", "state", "fault", "host", "stages", "epoch", "epochs", "from_epoch", "metrics", "replays",
    "news_seconds_ago"}].

    A value is None if it is not known, or if it belongs to a training and there is none.
    """
    names = ("trial", "run", "state", "fault", "host", "stages", "epoch", "epochs", "from_epoch", "metrics", "replays")
    now = time.time()
    return [
        {name: beat.get(name) for name in names}
        | {"news_seconds_ago": max(0.0, now - beat["news"]) if "news" in beat else None}
        for beat in beats.values()
    ]


@dataclass(frozen=True)
class Beats:
    """What a run says of itself. trials: {trial at work: its heartbeat}. replayed: {trial trained again: seconds}."""

    trials: Mapping[str, Heartbeat]
    replayed: Mapping[str, float]


def _eta(plan: PricedPlan, beats: Beats, snapshot: Snapshot, failures: Collection[str]) -> float | None:
    """Seconds until the run is done, by the one clock (run/clock.py), from the store."""
    course, news = Course(), [0.0, *(beat.get("news", 0.0) for beat in beats.trials.values())]
    for trial in plan.trials:
        if trial.trial in failures:
            course.given_up.add(trial.trial)
        if trial.train:
            _training(course, trial, beats, snapshot)
        for part in (part for wave in trial.waves for part in wave):
            commit = snapshot.commits.get(part.id)
            if commit is not None:
                course.measure(commit.seconds, part.seconds * (commit.passes / part.passes if part.passes else 1.0))
                news.append(commit.ended)
            if commit is not None or part.id in failures:
                course.ended.add(part.id)
    waited = max(0.0, time.time() - max(news)) if max(news) else 0.0
    return time_left(plan, course, waited)


def _training(course: Course, trial: TrialCost, beats: Beats, snapshot: Snapshot) -> None:
    """Adds a training to the course: it has ended, or its heartbeat says how far it is.

    The commit of a training says how long all its epochs took. That of a replay is an old one and says nothing.
    """
    commit, beat = snapshot.commits.get(trial.trial), beats.trials.get(trial.trial)
    first = commit.seconds if commit else None
    seconds = beats.replayed.get(trial.trial) if trial.replays else first
    if seconds is not None:
        course.ended.add(trial.trial)
        course.measure(seconds, trial.epoch_seconds * trial.epochs, trial.epochs)
    elif beat is not None and beat.keys() >= {"epoch", "from_epoch", "seconds"}:
        course.epochs[trial.trial] = beat["epoch"]
        done = beat["epoch"] - beat["from_epoch"]
        course.measure(beat["seconds"], trial.epoch_seconds * done, done)
