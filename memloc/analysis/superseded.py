"""What older records of a sweep ask for in vain: another version of memloc has planned the same under other ids since.

Nothing computes the old ids any more, so what is missing of them is not pending.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from memloc.config import canonical_json
from memloc.store import Snapshot, records
from memloc.store.columns import numbers_of
from memloc.store.records import SweepRecord

Trial = Mapping[str, Any]


@dataclass(frozen=True)
class Current:
    """The trials of some records, each once. left_out: how many unfinished trainings and analyses are superseded."""

    trials: Sequence[Trial]
    trainings: int
    analyses: int

    @property
    def left_out(self) -> dict[str, int]:
        """As `memloc status --json` has it."""
        return {"trainings": self.trainings, "analyses": self.analyses}


def launched(contents: Sequence[SweepRecord], snapshot: Snapshot) -> list[float]:
    """When each record was first launched, in seconds since 1970.

    That is the date of its file. In a copied store it is no later than the begin of the first part that it alone needs.
    """
    every = snapshot.every
    ended = every.array("ended")
    ids, begun = every.array("id")[ended > 0], (ended - every.array("seconds"))[ended > 0]
    parts = [np.unique(numbers_of(_ids(record))) for record in contents]
    needed, owners = np.unique(np.concatenate([*parts, np.zeros(0, np.uint64)]), return_counts=True)
    alone = needed[owners == 1]
    own = (begun[np.isin(ids, of) & np.isin(ids, alone)] for of in parts)
    return [float(min([record.recorded, *times.tolist()])) for record, times in zip(contents, own, strict=True)]


def _ids(record: SweepRecord) -> Iterator[str]:
    for trial in record.trials:
        yield trial["trial"]
        for analysis in trial["analyses"]:
            yield from analysis["parts"]


def in_order(contents: Sequence[SweepRecord], snapshot: Snapshot) -> list[tuple[SweepRecord, float]]:
    """(record, when it was launched): names in order, the oldest record of a name first."""
    dates = launched(contents, snapshot)
    return sorted(zip(contents, dates, strict=True), key=lambda one: (one[0].name, one[1], one[0].sha))


def current(contents: Sequence[SweepRecord], snapshot: Snapshot) -> Current:
    """The trials of these records without what is unfinished and superseded by a younger record of the same name."""
    if len({record.name for record in contents}) == len(contents):
        return Current(records.merged_trials(list(contents)), 0, 0)
    kept, trainings, analyses = [], set[str](), set[str]()
    for _, group in groupby(in_order(contents, snapshot), key=lambda one: one[0].name):
        younger = _Planned()
        for record, _ in reversed(list(group)):
            own = _Planned.of(record.trials)
            trials = []
            for trial in record.trials:
                lost = own.has_another(_training(trial), trial["trial"], younger)
                if lost and trial["trial"] not in snapshot.commits:
                    trainings.add(trial["trial"])
                    continue
                gone = {
                    a["analysis"]
                    for a in trial["analyses"]
                    if (lost or own.has_another(_analysis(trial, a), a["analysis"], younger))
                    and not snapshot.complete(a["parts"])
                }
                analyses |= gone
                trials.append({**trial, "analyses": [a for a in trial["analyses"] if a["analysis"] not in gone]})
            kept.append(replace(record, trials=trials))
            younger.add(own)
    needed = (
        {t["trial"] for r in kept for t in r.trials},
        {a["analysis"] for r in kept for t in r.trials for a in t["analyses"]},
    )
    order = {(r.name, r.sha): n for n, r in enumerate(contents)}
    merged = records.merged_trials(sorted(kept, key=lambda r: order[r.name, r.sha]))
    return Current(merged, len(trainings - needed[0]), len(analyses - needed[1]))


def _training(trial: Trial) -> str:
    return canonical_json(trial["config"])


def _analysis(trial: Trial, analysis: Mapping[str, Any]) -> str:
    return canonical_json([trial["trial"], analysis["stage"], analysis["config"]])


class _Planned:
    """{what is planned, as text: its ids}"""

    def __init__(self) -> None:
        self._ids: dict[str, set[str]] = {}

    @staticmethod
    def of(trials: Iterable[Trial]) -> _Planned:
        planned = _Planned()
        for trial in trials:
            planned._ids.setdefault(_training(trial), set()).add(trial["trial"])
            for analysis in trial["analyses"]:
                planned._ids.setdefault(_analysis(trial, analysis), set()).add(analysis["analysis"])
        return planned

    def add(self, other: _Planned) -> None:
        for what, ids in other._ids.items():
            self._ids.setdefault(what, set()).update(ids)

    def has_another(self, what: str, id: str, younger: _Planned) -> bool:
        """Has a younger record planned the same under ids of which none is here? id: one of those here."""
        theirs = younger._ids.get(what, set())
        return bool(theirs) and id not in theirs and not theirs & self._ids[what]
