"""Tells runs to stop: those that show signs of life, by the heartbeats that `memloc status` reads too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memloc.analysis.run_status import Heartbeat, runs_on
from memloc.analysis.sweep_records import contents_of
from memloc.errors import UsageError
from memloc.store import Store, heartbeats, records, run_layout, stops


@dataclass(frozen=True)
class Told:
    """A run that has its order. state: what it was doing. stages: {stage: trials at it}. before: somebody told it before."""

    run: str
    sweep: str
    host: str
    state: str
    stages: Mapping[str, int]
    before: bool


@dataclass(frozen=True)
class Stopped:
    """What an order has reached. others: the sweeps of runs that work on the same trials for another sweep; they go on."""

    told: list[Told]
    others: list[str]


def tell(store: Store, sweep: str | None) -> Stopped:
    """Writes an order for every run at work on a sweep, or in the whole store (None).

    Raises:
        UsageError: where the store has no such sweep.

    Warns:
        MemlocWarning: naming the heartbeats of what cannot be a run of memloc.
    """
    beats, every = heartbeats.of_living(store.files)
    runs: list[Heartbeat] = list(every)
    others: list[Heartbeat] = []
    if sweep is not None:
        saying_so = {run["sweep"] for run in runs if sweep in _names(run)}
        contents = _contents(store, sweep, needed=not saying_so)
        names = saying_so | {f"{record.name}@{record.sha}" for record in contents}
        trials = {trial["trial"] for trial in records.merged_trials(contents)}
        runs, others = of_sweep(runs, {t: beat for t, beat in beats.items() if t in trials}, names)
    odd = {
        run_layout.run_heartbeat(run["run"]): "names no run of memloc" for run in runs if not run_layout.is_run(run["run"])
    }
    if odd:
        store.left_out(odd)
    before = stops.read(store.files)
    told = []
    for run in runs:
        if not run_layout.is_run(run["run"]):
            continue
        if run["run"] not in before:
            stops.give(store.files, run["run"])
        told.append(_told(run, beats, run["run"] in before))
    return Stopped(told, sorted({other["sweep"] for other in others if other.get("sweep")}))


def _names(run: Heartbeat) -> tuple[str, ...]:
    """NAME@sha8 and NAME of the record that a run carries out, as it says itself: the record may be damaged or gone."""
    record: str = run.get("sweep", "")
    return (record, record.partition("@")[0]) if record else ()


def _contents(store: Store, sweep: str, needed: bool) -> list[records.SweepRecord]:
    """The records of a sweep; none if they cannot be read and are not needed."""
    try:
        return contents_of(store, sweep)
    except UsageError:
        if needed:
            raise
        return []


def of_sweep(
    runs: Sequence[Heartbeat], beats: Mapping[str, Heartbeat], names: Collection[str]
) -> tuple[list[Heartbeat], list[Heartbeat]]:
    """(the runs that carry out one of these records, other runs at work on one of these trials)."""
    own = [run for run in runs if run.get("sweep") in names]
    return own, [run for run in runs_on(runs, beats, names) if run not in own]


def _told(run: Heartbeat, beats: Mapping[str, Heartbeat], before: bool) -> Told:
    said: dict[str, Any] = {name: run.get(name, "") for name in ("run", "sweep", "host", "state")}
    own = [beat for beat in beats.values() if beat.get("run") == run["run"]]
    return Told(**said, stages=Counter(stage for beat in own for stage in beat.get("stages", ())), before=before)
