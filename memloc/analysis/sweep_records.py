"""The records of the sweeps in a store: when each was first launched, and what differs between those of one name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from memloc.config import canonical_json
from memloc.store import Store, records
from memloc.store.records import SweepRecord

SHOWN = 4  # values of a field in a description


@dataclass(frozen=True)
class RecordAbout:
    """A record, and its differences from the oldest record of its name."""

    record: SweepRecord
    differs: tuple[str, ...]

    @property
    def name(self) -> str:
        """NAME@sha8: what a command takes."""
        return f"{self.record.name}@{self.record.sha}"


def about_records(store: Store, sweep: str | None = None) -> list[RecordAbout]:
    """Every record, or those of one name. Names are in order; the oldest record of a name comes first."""
    records_of = records.read_sweep(store.files, sweep) if sweep is not None else records.read_sweeps(store.files)
    about = []
    for _, group in groupby(sorted(records_of, key=lambda r: r.name), key=lambda r: r.name):
        first, *others = sorted(group, key=lambda r: (r.recorded, r.sha))
        about += [RecordAbout(first, ()), *(RecordAbout(r, differences(first, r)) for r in others)]
    return about


def union_note(store: Store, sweep: str | None) -> str | None:
    """The note that a sweep's name has several records, which are read as one; None if it has one."""
    if sweep is None or "@" in sweep:
        return None
    about = about_records(store, sweep)
    if len(about) < 2:
        return None
    each = [f"{a.name} of {day(a.record.recorded)}" + "".join(f", {d}" for d in a.differs) for a in about]
    return f"{sweep}: {len(about)} contents have this name; they are read together. For one alone: {'; '.join(each)}"


def day(seconds: float) -> str:
    """Local date and time to the minute."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def differences(first: SweepRecord, other: SweepRecord) -> tuple[str, ...]:
    """What changes from `first` to `other`: `FIELD: old → new` of trainings and stages, stages, the number of trainings."""
    before, after = _values(first), _values(other)
    changed = []
    for name in dict.fromkeys([*before, *after]):
        stage, point, _ = name.partition(".")
        if before.get(name) == after.get(name):
            continue
        if not point or (stage in before and stage in after):
            changed.append(f"{name}: {_listed(before.get(name))} → {_listed(after.get(name))}")
    if len(first.trials) != len(other.trials):
        changed.append(f"trainings: {len(first.trials)} → {len(other.trials)}")
    return tuple(changed) or ("ids alone: another version of memloc, or other data",)


def _values(record: SweepRecord) -> dict[str, tuple[Any, ...]]:
    """{field, STAGE or STAGE.FIELD: its values among the record's trials}. A stage itself has the values ("yes",)."""
    values: dict[str, dict[str, Any]] = {}

    def note(name: str, value: Any) -> None:
        values.setdefault(name, {})[canonical_json([value])] = value

    for trial in record.trials:
        for name, value in trial["config"].items():
            note(name, value)
        for analysis in trial["analyses"]:
            note(analysis["stage"], "yes")
            for name, value in analysis["config"].items():
                note(f"{analysis['stage']}.{name}", value)
    return {name: tuple(by_text[text] for text in sorted(by_text)) for name, by_text in values.items()}


def _listed(values: Sequence[Any] | None) -> str:
    if values is None:
        return "none"
    shown = ", ".join(canonical_json(v) if isinstance(v, list) else str(v) for v in values[:SHOWN])
    return f"{shown}, …" if len(values) > SHOWN else shown
